"""What is sent: trees of files by their SHA-256, and the tar of those that a device does not have yet."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge_tl.device.bundle import RECORD, read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.files import sha256_file


@dataclass(frozen=True)
class Item:
    """One file's content: where it is read from, or the bytes themselves."""

    sha256: str
    size: int
    source: Path | bytes


@dataclass(frozen=True)
class Tree:
    """A file or a folder as it is to stand on the device, under its own `name`; keys are POSIX paths in it.

    A single file has the one key "".
    """

    name: str
    items: dict[str, Item]

    @property
    def layout(self) -> dict[str, str]:
        """Path to SHA-256, as the device is told."""
        return {path: item.sha256 for path, item in self.items.items()}


def of_bundle(root: Path) -> Tree:
    """The files that `bundle.json` lists, and it. Raises `BundleError` when one is missing or damaged."""
    record = read_bundle(root).record
    listed = [file for part in (*record["artifacts"], record["golden"]) for file in part["files"]]
    items = {file["path"]: Item(file["sha256"], file["bytes"], root / file["path"]) for file in listed}
    return Tree(root.resolve().name, {RECORD: _item(root / RECORD)} | items)


def of_path(path: Path, *, suffix: str = "") -> Tree:
    """A file, or all files in a folder that end in `suffix`, linked ones too. Raises `BadInput` when there is none."""
    if path.is_file():
        return Tree(path.name, {"": _item(path)})
    if not path.is_dir():
        raise BadInput(f"no such file or folder: {path}. With --on, an option's path must exist here.")
    items: dict[str, Item] = {}
    entered = {os.path.realpath(path)}  # a link to a folder above would go round for ever
    for folder, below, names in os.walk(path, followlinks=True):
        below[:] = [n for n in sorted(below) if os.path.realpath(Path(folder, n)) not in entered]
        entered |= {os.path.realpath(Path(folder, name)) for name in below}
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file() and name.endswith(suffix):
                items[file.relative_to(path).as_posix()] = _item(file)
    if not items:
        raise BadInput(f"{path} holds no {suffix or 'file'}: nothing to copy.")
    return Tree(path.resolve().name, items)


def of_bytes(name: str, content: bytes) -> Tree:
    """A file that is made here and now."""
    return Tree(name, {"": Item(hashlib.sha256(content).hexdigest(), len(content), content)})


def write_tar(items: Iterable[Item], stream: IO[bytes], sent: Callable[[int], None]) -> None:
    """The items as a tar, named by their SHA-256; `sent` is told the bytes so far. Raises `OSError`."""
    total = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as tar:
        for item in items:
            entry = tarfile.TarInfo(item.sha256)
            entry.size = item.size
            if isinstance(item.source, bytes):
                tar.addfile(entry, io.BytesIO(item.source))
            else:
                with item.source.open("rb") as file:
                    tar.addfile(entry, file)
            total += item.size
            sent(total)


def _item(path: Path) -> Item:
    return Item(sha256_file(path), path.stat().st_size, path)
