"""One writer a folder: the second is refused, so the files of two are never mixed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_tl.device.errors import BadInput

LOCK = ".edge-tl.lock"
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # some network file systems
_ours: set[int] = set()
"""Descriptors of the locks that this process holds."""
_FAR = 1 << 20  # the byte that Windows locks: beyond the text, which others may then read


@contextmanager
def one_writer(folder: Path, option: str = "--out") -> Iterator[None]:
    """Alone with `folder` until the end of the block, also against other processes; it is made where it is missing, and
    a folder that is made here and stays empty goes again.

    The system drops the lock when the process ends, however it ends; a forked worker that outlives it holds nothing.
    Raises `BadInput` at once when another writes into the folder, in this process too, or where the name of the lock
    is taken by a link or no ordinary file, and `OSError` where nobody can write.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _locked(path)
    if file is None:
        raise BadInput(
            f"{folder}: another edge-tl{_who(path)} writes into it. Wait until it is done, or give another {option}."
        )
    try:
        yield
    finally:
        if file not in _ours:  # a forked copy of who holds it
            pass
        elif os.name == "posix":  # while it is still locked: nobody else may hold this name
            path.unlink(missing_ok=True)
            _ours.discard(file)
            os.close(file)
        else:
            _ours.discard(file)
            os.close(file)
            with suppress(OSError):  # open files keep their names there; the next one has it
                path.unlink()
        if made:
            with suppress(OSError):
                folder.rmdir()


def _locked(path: Path) -> int | None:
    """The descriptor that holds the lock, or None where another has it."""
    while True:
        file = _opened(path)
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(file)
                if error.errno in _HELD:
                    return None
                raise
        if _is_still(path, file):
            with suppress(
                OSError
            ):  # a full disk: the lock is held all the same, and only its text is missing
                os.ftruncate(file, 0)
                os.write(file, str(os.getpid()).encode())
            _ours.add(file)
            return file
        os.close(file)  # whoever had it removed it in between: this one is nobody's any more


def _opened(path: Path) -> int:
    """Open or make the file of the lock; nothing that a link or another name leads to is ever written to. Raises
    `BadInput` for what is no ordinary file."""
    flags = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise _no_lock(path) from None
        raise
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or path.is_symlink():
        os.close(file)
        raise _no_lock(path)
    return file


def _no_lock(path: Path) -> BadInput:
    return BadInput(
        f"{path} is a link or no ordinary file, and edge-tl locks the folder with a file of that name. Remove it."
    )


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def _forget_in_child() -> None:
    """A forked process has its parent's descriptors, and would hold the lock after the parent was killed."""
    for file in _ours:
        os.close(file)
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _who(path: Path) -> str:
    with suppress(OSError, ValueError):
        return f" (process {int(path.read_text(encoding='ascii')[:20])})"
    return ""
