"""Standard streams whose reader may be gone: the verb goes on, and its exit code is its own.

`verify | true`, `2>&1 | head -1`, `>&-` and a closed ssh session take away the reader, not the result. A file that
cannot be written, as on a full disk, is an error.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any


class _ReaderMayLeave(io.FileIO):
    """A descriptor that takes and drops what is written once nobody reads from it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and not _is_file(self.fileno()))
            if not gone:
                raise
            return memoryview(data).nbytes


def survive_closed_readers() -> None:
    """Let `sys.stdout` and `sys.stderr` outlive their readers, and write what they cannot encode as escapes. A closed
    descriptor is opened on /dev/null, so that no file opened later gets its number, and with it what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as we do
        setattr(sys, name, _surviving(stream))


def flush_stdout() -> None:
    """Flush stdout; what a full disk does not take is dropped, or Python would fail again when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _surviving(stream: Any) -> Any:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)  # itself where PYTHONUNBUFFERED is set
    if type(raw) is not io.FileIO:  # a test's, or a console of Windows
        return stream
    stream.flush()
    raw_out: Any = _ReaderMayLeave(raw.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        raw_out if raw is stream.buffer else io.BufferedWriter(raw_out),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or raw.fileno() == 2,  # as Python has it
        write_through=stream.write_through,
    )


def _is_file(number: int) -> bool:
    return stat.S_ISREG(os.fstat(number).st_mode)
