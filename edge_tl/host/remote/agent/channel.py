"""The host as the device sees it: standard input, which must stay open and active, and lines on standard error.

When standard input ends or falls silent, the process that runs for the host is ended with its whole group.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

MARK = b"\x1eedge-tl "  # before the answer: a login script may print on stdout too
SILENCE_S = 60.0  # without a byte from the host
GRACE_S = 3.0  # to end on SIGTERM before SIGKILL
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class AgentError(Exception):
    """What the host receives: one of the kinds that `remote.errors` has a sentence for, and the details."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def log(line: str) -> None:
    """One line for the person at the host."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Channel:
    """Standard input, `closed` once the host is gone, and the one child process that depends on it."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """End the child when the host closes the connection or falls silent."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while select.select([0], [], [], SILENCE_S)[0] and os.read(0, 4096):
            pass
        self.closed.set()
        if self._child:
            _end(self._child)

    def check_open(self) -> None:
        """Raises `AgentError` when the host is gone."""
        if self.closed.is_set():
            raise AgentError("disconnected", "the host is gone")

    @contextmanager
    def child(self, command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A process in a group of its own, of which nothing is left afterwards."""
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, **options
        )
        self._child = process
        try:
            self.check_open()
            yield process
        finally:
            _end(process)
            self._child = None

    def call(self, command: list[str], *, echo: bool) -> tuple[int, list[str]]:
        """Exit code and last lines of what a process printed; with `echo` the host is sent them as they come."""
        lines: list[str] = []
        with self.child(command, stderr=subprocess.STDOUT) as process:
            for line in process.stdout or ():
                lines.append(line.decode(errors="replace").rstrip())
                if echo:
                    log(lines[-1])
            code = process.wait()
        return code, lines[-20:]


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE_S
        try:
            os.killpg(process.pid, number)
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)  # raises when none of the group is left
                time.sleep(0.02)
        except OSError:
            break
    process.poll()
