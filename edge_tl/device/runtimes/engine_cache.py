"""Folders for what accelerators compile: minutes for TensorRT, so it is kept in edge-tl's cache. Compiles nothing.

A compiler's own check of what it finds there is by name or structure at most (onnxruntime.ai, "TensorRT Execution
Provider": clean the cache when the model changes), so there is a folder for each content, runtime and choice of
options.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

from edge_tl.device.files import sha256_known
from edge_tl.device.runtimes.families import files_of
from edge_tl.device.runtimes.sandbox import cache_folder

_MOST_KEPT = 20  # folders of engines, each of tens of megabytes


def engine_folder(path: Path, *made_with: str) -> Path | None:
    """A folder for what is compiled of the model at `path`, by versions, device and options (`made_with`), new or as an
    earlier call left it. None where edge-tl has no cache of its own (`EDGE_TL_CACHE=off`, or others can write to it) or
    it cannot be written: what is read from there runs."""
    root = cache_folder()
    if root is None:
        return None
    with suppress(OSError):
        contents = [sha256_known(part) for part in files_of(path)]
        key = hashlib.sha256(json.dumps([contents, made_with]).encode()).hexdigest()
        folder = root / "engines" / key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.touch()  # in use: the oldest go first
        _prune(folder.parent)
        return folder
    return None


def _prune(engines: Path) -> None:
    made = [each for each in engines.iterdir() if re.fullmatch("[0-9a-f]{64}", each.name)]
    kept = sorted((each for each in made if not each.is_symlink()), key=lambda each: each.stat().st_mtime_ns)
    for each in kept[:-_MOST_KEPT]:
        shutil.rmtree(each, ignore_errors=True)
