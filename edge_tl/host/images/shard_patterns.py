"""Patterns and folders of tar shards as the files that they name. Opens no shard."""

from __future__ import annotations

import re
from itertools import product
from math import prod
from pathlib import Path

from edge_tl.device.errors import BadInput

SUFFIX = ".tar"
_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
_MOST_SHARDS = 1_000_000


def expand_braces(pattern: str) -> list[str]:
    """Braces written out as a shell does, the first varying slowest: `{000..041}` keeps its zeros, `{a,b}` is a
    list; braces around anything else stay. Raises `BadInput` when they are nested or not closed."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    if any(brace in literal for literal in parts[::2] for brace in "{}"):
        raise BadInput(
            f"braces do not match: {pattern!r}. Write them as {{000..041}} or {{a,b}}, not nested."
        )
    if (count := prod(_count(body) for body in parts[1::2])) > _MOST_SHARDS:
        raise BadInput(f"too many shards: {pattern!r} stands for {count}. Check the range.")
    choices = [[part] if i % 2 == 0 else _choices(part) for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _count(body: str) -> int:
    found = _RANGE.fullmatch(body)
    return abs(int(found[2]) - int(found[1])) + 1 if found else body.count(",") + 1


def _choices(body: str) -> list[str]:
    if found := _RANGE.fullmatch(body):
        first, last = int(found[1]), int(found[2])
        padded = any(len(text) > 1 and text.startswith("0") for text in found.groups())
        width = max(map(len, found.groups())) if padded else 0
        step = 1 if first <= last else -1
        return [f"{i:0{width}d}" for i in range(first, last + step, step)]
    return body.split(",") if "," in body else [f"{{{body}}}"]


def shards_in_folder(folder: Path) -> list[Path]:
    """The visible shards of `folder`, sorted. Raises `BadInput` when there are only compressed ones."""
    files = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    found = [p for p in files if p.suffix == SUFFIX]
    if not found:
        for path in files:
            refuse_compressed(path)
    return found


def refuse_compressed(path: Path) -> None:
    """Raises `BadInput` for a tar file that cannot be read at random."""
    if _COMPRESSED.search(path.name):
        raise BadInput(
            f"compressed shard: {path}. Images are read in place, which compression rules out (they are compressed "
            "themselves). Decompress it to .tar."
        )
