"""Busy processes beside what is measured; they end with the measurement, however it ends. Measures nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType

SETTLE_S = 0.3  # until they have started and compete

# Copies four megabytes over and over: it takes a core and, as a real program does, the caches. Its standard input
# ends with its parent, also where that one was killed, and the copying with it.
BUSY = """
import os, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
block = bytearray(4 << 20)
while True:
    bytes(block)
"""


class CpuLoad:
    """`count` busy processes for as long as the context lasts."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> CpuLoad:
        try:
            for _ in range(self.count):
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-I", "-c", BUSY],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
            time.sleep(SETTLE_S if self.count else 0)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill all of them, then wait for each."""
        for process in self.processes:
            with suppress(OSError):
                process.kill()
        for process in self.processes:
            process.wait()
            if process.stdin:
                with suppress(OSError):
                    process.stdin.close()
        self.processes = []
