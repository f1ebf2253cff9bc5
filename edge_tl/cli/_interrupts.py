"""Ctrl-C, SIGTERM and SIGHUP (a closed ssh session) end a verb the same way: once, in order, with exit code 130."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from edge_tl.device.errors import EXIT_INTERRUPTED

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENCE_S = 10.0  # for cleaning up; who asks again after it ends that too


class Interrupts:
    """`heard` once one came; `deferred` once somebody who set a handler in its place has taken one for later."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.deferred = False

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
    previous, writer = _watched(interrupts, before)
    try:
        yield interrupts
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writer)  # which ends the thread
        for number, handler in before.items():
            if handler is not None:  # one that was not Python's cannot be set again
                signal.signal(number, handler)


def _watched(interrupts: Interrupts, numbers: Collection[int]) -> tuple[int, int]:
    """Python runs a handler between two of its own instructions, and a call into a runtime may never return: a thread
    ends the process where a signal stays unheard for `PATIENCE_S`.

    Returns the wake-up descriptor that was set before, and that of now.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] not in numbers:
                continue
            time.sleep(PATIENCE_S)
            if not (interrupts.heard or interrupts.deferred):
                with suppress(OSError):
                    os.write(2, b"interrupted in a call that does not return.\n")
                os._exit(EXIT_INTERRUPTED)
        os.close(reader)

    threading.Thread(target=watch, name="interrupts", daemon=True).start()
    return previous, writer


def _not_watched() -> None:
    with suppress(ValueError):  # forked from another thread
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):  # a worker's signals are not its parent's
    os.register_at_fork(after_in_child=_not_watched)


def ignored() -> None:
    """From now on: the verb is over and its code is known."""
    for name in _NAMES:
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), signal.SIG_IGN)
