"""The files of a bundle on disk, against what its record says of them. Reads no record."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_tl.device.errors import BundleError
from edge_tl.device.files import sha256_file
from edge_tl.device.records.artifact import FileRecord

# What may lie beside the models: what people and edge-tl write about a bundle. A runtime could read anything else.
_ABOUT = (".json", ".md", ".html", ".txt", ".csv", ".svg", ".png", ".jpg", ".jpeg")
_ABOUT_NAMES = ("readme", "license", "notice", "thumbs.db", "desktop.ini")
AGAIN = "Copy the bundle again, or export again."


def check_file(root: Path, file: FileRecord) -> Path:
    """The path of a file of the bundle. Raises `BundleError` unless it is an ordinary file below `root` with the size
    and the content that were recorded. A pipe or a device is never opened."""
    path = root / file.path
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"no ordinary file in bundle: {path}. {AGAIN}")
        check_below(root, path)
        if found.st_size != file.bytes or sha256_file(path, keep=True) != file.sha256:
            raise BundleError(
                f"damaged file in bundle: {path} is not what was exported. Copy the bundle again."
            )
    except FileNotFoundError:
        raise BundleError(f"missing file in bundle: {path}. Copy the bundle again.") from None
    except OSError as error:
        raise BundleError(
            f"file in bundle: {path} cannot be read ({error.strerror}). Copy the bundle again."
        ) from None
    return path


def check_below(root: Path, path: Path) -> None:
    """Raises `BundleError` for a link that leaves the bundle."""
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), "")):
        raise BundleError(
            f"file in bundle: {path} is a link that leaves it. Copy the bundle with its links followed."
        )


def refuse_unlisted(root: Path, known: set[str]) -> None:
    """Raises `BundleError` for a file beside the models that is none of `known` and nothing that people write about a
    bundle."""
    for entry in sorted(root.iterdir()):
        if entry.name not in known and not _is_about(entry) and not entry.is_dir():
            raise BundleError(
                f"{entry} lies beside the models and is none of the bundle's files: a runtime could read it. Move it "
                "elsewhere."
            )


def _is_about(entry: Path) -> bool:
    name = entry.name.lower()
    return name.startswith(".") or name in _ABOUT_NAMES or entry.suffix.lower() in _ABOUT
