"""What is sent to a device: trees of files by their SHA-256, and a tar of those that it does not have yet."""

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
class Content:
    """One file's content: the path that it is read from, or the bytes themselves."""

    sha256: str
    size: int
    source: Path | bytes


@dataclass(frozen=True)
class Tree:
    """A file or a folder to be made on the device under its own `name`; keys are POSIX paths in it.

    A single file has the one key "".
    """

    name: str
    contents: dict[str, Content]

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each path."""
        return {path: content.sha256 for path, content in self.contents.items()}


def of_bundle(root: Path) -> Tree:
    """The files that `bundle.json` lists, and it. Raises `BundleError` when one is missing or damaged."""
    files = read_bundle(root).record.files
    listed = {file.path: Content(file.sha256, file.bytes, root / file.path) for file in files}
    return Tree(root.resolve().name, {RECORD: _content(root / RECORD)} | listed)


def of_path(path: Path, *, suffix: str = "") -> Tree:
    """A file, or all files in a folder that end in `suffix`, linked ones too. Raises `BadInput` when there is none."""
    if path.is_file():
        return Tree(path.name, {"": _content(path)})
    if not path.is_dir():
        raise BadInput(f"no such file or folder: {path}. With --on, an option's path must exist here.")
    contents: dict[str, Content] = {}
    entered = {os.path.realpath(path)}  # a link to a folder above would not end
    for folder, below, names in os.walk(path, followlinks=True):
        below[:] = [n for n in sorted(below) if os.path.realpath(Path(folder, n)) not in entered]
        entered |= {os.path.realpath(Path(folder, name)) for name in below}
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file() and name.endswith(suffix):
                contents[file.relative_to(path).as_posix()] = _content(file)
    if not contents:
        raise BadInput(f"{path} holds no {suffix or 'file'}: nothing to copy.")
    return Tree(path.resolve().name, contents)


def of_bytes(name: str, content: bytes) -> Tree:
    """A file with these bytes."""
    return Tree(name, {"": Content(hashlib.sha256(content).hexdigest(), len(content), content)})


def write_tar(contents: Iterable[Content], stream: IO[bytes], sent: Callable[[int], None]) -> None:
    """The contents as a tar, named by their SHA-256; `sent` is called with the bytes so far. Raises `OSError`."""
    total = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as tar:
        for content in contents:
            entry = tarfile.TarInfo(content.sha256)
            entry.size = content.size
            if isinstance(content.source, bytes):
                tar.addfile(entry, io.BytesIO(content.source))
            else:
                with content.source.open("rb") as file:
                    tar.addfile(entry, file)
            total += content.size
            sent(total)


def _content(path: Path) -> Content:
    return Content(sha256_file(path), path.stat().st_size, path)
