"""Ctrl-C, SIGTERM and SIGHUP (a closed ssh session) end a verb the same way: once, in order, with exit code 130."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENCE_S = 10.0  # for cleaning up; who asks again after it ends that too


class Interrupts:
    """`heard` once one came."""

    def __init__(self) -> None:
        self._first: float | None = None

    @property
    def heard(self) -> bool:
        return self._first is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first < PATIENCE_S:
            return  # what is half done is being removed
        self._first = self._first or now
        raise KeyboardInterrupt


@contextmanager
def heeded() -> Iterator[Interrupts]:
    """The first raises `KeyboardInterrupt`; more of them, impatient or from a dying terminal, do not disturb what
    cleans up. One that is ignored where this process was started (nohup, a shell's background) stays ignored."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupts)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not Python's cannot be set again
                signal.signal(number, handler)


def ignored() -> None:
    """From now on: the verb is over and its code is known."""
    for name in _NAMES:
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), signal.SIG_IGN)
