"""Reading and writing files so that a kill at any moment leaves the old file or the new one, never half of one.

It must not know what the files mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tl.device.errors import BadInput
from edge_tl.device.format import megabytes, number
from edge_tl.device.images.reading import with_retries
from edge_tl.device.text import printable

_DEEPEST = 64  # objects and lists in one another
_kept: dict[tuple[int, int, int, int], str] = {}


def sha256_file(path: Path, *, keep: bool = False) -> str:
    """Hex SHA-256 of the file's content, read now; with `keep`, `sha256_known` knows it from then on."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        before = _state(os.fstat(file.fileno()))
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        if keep and before == _state(os.fstat(file.fileno())):
            _kept[before] = digest.hexdigest()
    return digest.hexdigest()


def sha256_known(path: Path) -> str:
    """As `sha256_file`, without reading a file again that this process hashed to keep and that has not changed since:
    the same one, by size and time."""
    return _kept.get(_state(path.stat())) or sha256_file(path, keep=True)


def _state(of: os.stat_result) -> tuple[int, int, int, int]:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to disk, read back, then rename over it and flush the folder."""
    replace_file(path, lambda file: file.write_bytes(content), lambda file: file.read_bytes() == content)


def replace_file(path: Path, write: Callable[[Path], object], reads_back: Callable[[Path], bool]) -> None:
    """As `write_atomic`, for a file that a library writes and reads. Raises `OSError` that names a file; `path` is then
    as it was."""
    try:
        _replace_file(path, write, reads_back)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # A full disk stops a write, which knows no name.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace_file(path: Path, write: Callable[[Path], object], reads_back: Callable[[Path], bool]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    scratch = Path(name)
    try:
        write(scratch)
        with scratch.open("r+b") as file:
            os.fsync(file.fileno())
        if not reads_back(scratch):
            raise OSError(f"{path}: what was written does not read back")
        scratch.chmod(0o666 & ~umask())  # mkstemp makes private files; a bundle is there to be copied
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` durable; systems that cannot open a folder (Windows) have nothing to flush."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_can_make(folder: Path, option: str) -> None:
    """Refuse, before anything is computed for it, a folder in which nothing could be written. It leaves nothing behind.
    Raises `BadInput`, which names the `option`."""
    try:
        there = next(
            each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each)
        )
        with tempfile.TemporaryDirectory(dir=there, prefix=".edge-tl-"):  # tried: permissions do not tell
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        shown = printable(str(folder))
        raise BadInput(f"{option} {shown}: cannot make the folder ({why}). Choose another.") from None


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Atomic, UTF-8, indented; NaN is refused, because JSON has none."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")


def read_json(path: Path, *, most: int = 256 << 20) -> dict[str, Any]:
    """The JSON object in `path`. Raises `BadInput` for anything else, also as `read_json_value` does; `ReadError` when
    it cannot be read now."""
    record = read_json_value(path, most=most)
    if not isinstance(record, dict):
        raise BadInput(f"cannot read {path}: it holds no JSON object. Copy or make it again.")
    return record


def read_json_value(path: Path, *, most: int) -> Any:
    """What the JSON in `path` holds. Raises `BadInput` for anything else: more than `most` bytes, nested more than 64
    deep, a key twice in one object (readers differ in which they take), NaN and infinity; `ReadError` when it cannot be
    read now."""
    try:
        content = _content_of(path, most)
        record = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
        if _depth(record) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
    except (ValueError, OSError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"cannot read {path}: {why}. Copy or make it again.") from None
    return record


def read_small(path: Path, *, most: int) -> bytes:
    """The bytes of an ordinary file. Raises `BadInput` for anything else and for more than `most` bytes, `ReadError`
    when it cannot be read now."""
    try:
        return _content_of(path, most)
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"cannot read {path}: {why}. Give another file.") from None


def _content_of(path: Path, most: int) -> bytes:
    found = with_retries(str(path), path.stat)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # a pipe would keep us waiting
        raise ValueError("it is a pipe or a device, not a file")
    if found.st_size > most:
        raise ValueError(f"it has {megabytes(found.st_size, 0)}, at most {number(most, 0, 1e-6)} are read")
    return with_retries(str(path), path.read_bytes)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _depth(value: Any) -> int:
    """Without recursion: the value may be deeper than Python calls."""
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        lists = [item for item in level if isinstance(item, list)]
        objects = [item for item in level if isinstance(item, dict)]
        level = [child for item in lists for child in item if isinstance(child, list | dict)]
        level += [child for item in objects for child in item.values() if isinstance(child, list | dict)]
    return depth if level else depth - 1


def private(state: os.stat_result) -> bool:
    """Whether a file or folder is this user's and nobody else can write to it (POSIX)."""
    return state.st_uid == os.geteuid() and not state.st_mode & 0o022


def umask() -> int:
    """The mode bits that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
