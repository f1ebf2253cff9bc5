"""Standard streams whose other end may be gone: the verb goes on, and its exit code is its own.

`verify | true`, `2>&1 | head -1`, `>&-` and a closed ssh session take away who listens, not what was found. A full disk
is another matter: what was redirected to a file and cannot be written there is an error.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any


class _Unheard(io.FileIO):
    """A descriptor to which anything can be written once nobody reads from it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and not _is_file(self.fileno()))
            if not gone:
                raise
            return memoryview(data).nbytes


def make_patient() -> None:
    """Have `sys.stdout` and `sys.stderr` outlive their readers, and show what they cannot encode as escapes. A closed
    descriptor is opened on nothing, so that no file of ours gets its number, and with it what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as we do
        setattr(sys, name, _patient(stream))


def settle() -> None:
    """Write what waits on stdout; what a full disk does not take is given up, or Python's end would fail too."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _patient(stream: Any) -> Any:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)  # itself where PYTHONUNBUFFERED is set
    if type(raw) is not io.FileIO:  # a test's, or a console of Windows
        return stream
    stream.flush()
    unheard: Any = _Unheard(raw.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        unheard if raw is stream.buffer else io.BufferedWriter(unheard),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or raw.fileno() == 2,  # as Python has it
        write_through=stream.write_through,
    )


def _is_file(number: int) -> bool:
    return stat.S_ISREG(os.fstat(number).st_mode)
