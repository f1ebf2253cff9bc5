"""Reading files with retries: a fault that says nothing about a file's bytes is tried again, then it is an error.

"Too many open files" or a full memory pass; if they were taken for facts about an image, it would be left out, and a
cache would leave it out for ever. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from edge_tl.device.errors import BadImage, ReadError

T = TypeVar("T")
_PAUSES = (0.05, 0.2, 0.8)  # seconds before each further attempt

# What the path itself says; to wait is no use.
_OF_THE_PATH = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EISDIR: "a folder, not an image file",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.ELOOP: "a link that leads back to itself",
}
_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS}
_ADVICE = {
    errno.EMFILE: "Allow more open files (ulimit -n) and run again.",
    errno.ENFILE: "Close other programs, or allow the system more open files, and run again.",
    errno.ENOMEM: "Close other programs, or use a machine with more memory, and run again.",
    errno.EACCES: "Change its permissions and run again.",
    errno.EPERM: "Change its permissions and run again.",
    errno.EIO: "Check the disk or the network, and run again.",
}


class EncodedImage(Protocol):
    """An encoded image that is no file of its own: a part of an archive, for one. A `Path` is one, too."""

    def read_bytes(self) -> bytes:
        """The whole encoded image. Raises `OSError`."""


def is_transient(error: BaseException) -> bool:
    """Whether `error` is about this machine at this moment: neither a missing file, nor a library's own complaint about
    bytes, which carries no number."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_PATH
    )


def with_retries(name: str, action: Callable[[], T]) -> T:
    """What `action` returns, tried again a few times while what it raises may pass. Raises `ReadError` that names the
    file `name` when it does not; every error that is not transient goes through."""
    for pause in (*_PAUSES, None):
        try:
            return action()
        except (OSError, MemoryError) as error:
            if not is_transient(error):
                raise
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
            if pause is None or number in _LASTING:
                reason = os.strerror(errno.ENOMEM if number is None else number)
                advice = _ADVICE.get(number or 0, "Repair that and run again.")
                raise ReadError(name, reason, advice) from None
            time.sleep(pause)
    raise AssertionError("unreachable")


def read(source: str | os.PathLike[str] | EncodedImage, *, most: float) -> bytes:
    """The bytes of a file or of a part of an archive.

    Raises `BadImage` for what is no readable file of at most `most` bytes (true of the path, not of any bytes), and
    `ReadError` when it cannot be read now.
    """
    name, of_path = str(source), isinstance(source, str | os.PathLike)

    def attempt() -> bytes:
        try:
            if isinstance(source, str | os.PathLike):
                return _file(os.fspath(source), most)
            return source.read_bytes()
        except OSError as error:
            if error.errno is None:  # an archive that became shorter, for one
                raise BadImage(name, str(error), of_bytes=False) from None
            if error.errno in _OF_THE_PATH:
                reason = _OF_THE_PATH[error.errno] if of_path else error.strerror or str(error)
                raise BadImage(name, reason, of_bytes=False) from None
            raise
        except ValueError:  # a NUL in the name
            raise BadImage(name, "no such file", of_bytes=False) from None

    return with_retries(name, attempt)


def _file(path: str, most: float) -> bytes:
    found = os.stat(path)  # before it is opened: a pipe would keep us waiting
    if stat.S_ISDIR(found.st_mode):
        raise BadImage(path, _OF_THE_PATH[errno.EISDIR], of_bytes=False)
    if not stat.S_ISREG(found.st_mode):
        raise BadImage(path, "a pipe or a device, not an image file", of_bytes=False)
    if found.st_size > most:
        raise BadImage(
            path, f"too large: {found.st_size} bytes; see --max-pixels for larger images", of_bytes=False
        )
    with open(path, "rb") as file:
        return file.read()
