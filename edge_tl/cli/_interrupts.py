"""Ctrl-C, SIGTERM and SIGHUP (a closed ssh session) end a verb alike: once, after cleaning up, with exit code 130."""

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
CLEANUP_S = 10.0  # an interrupt after it ends the cleaning up too


class InterruptHandler:
    """`received` once a signal came; `deferred` once a handler set in its place has postponed one."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.deferred = False

    @property
    def received(self) -> bool:
        return self._first is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first < CLEANUP_S:
            return  # cleaning up goes on
        self._first = self._first or now
        raise KeyboardInterrupt


@contextmanager
def handled() -> Iterator[InterruptHandler]:
    """The first signal raises `KeyboardInterrupt`; others within `CLEANUP_S`, from a person or a closing terminal,
    are ignored. What was ignored when this process started (nohup, a shell's background) stays ignored."""
    handler = InterruptHandler()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: own for number, own in before.items() if own is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    previous, writer = _watch_for_stuck_calls(handler, before)
    try:
        yield handler
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writer)  # which ends the thread
        for number, own in before.items():
            if own is not None:  # one that was not Python's cannot be set again
                signal.signal(number, own)


def _watch_for_stuck_calls(handler: InterruptHandler, numbers: Collection[int]) -> tuple[int, int]:
    """Python runs a handler between two of its own instructions, and a call into a runtime may never return: a thread
    ends the process where no handler has run `CLEANUP_S` after a signal.

    Returns the wake-up descriptor that was set before, and that of now.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] not in numbers:
                continue
            time.sleep(CLEANUP_S)
            if not (handler.received or handler.deferred):
                with suppress(OSError):
                    os.write(2, b"interrupted in a call that does not return.\n")
                os._exit(EXIT_INTERRUPTED)
        os.close(reader)

    threading.Thread(target=watch, name="interrupts", daemon=True).start()
    return previous, writer


def _stop_watching() -> None:
    with suppress(ValueError):  # forked from another thread
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):  # a worker's signals are not its parent's
    os.register_at_fork(after_in_child=_stop_watching)


def ignore() -> None:
    """Ignore signals from now on: the verb has ended and its exit code is known."""
    for name in _NAMES:
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), signal.SIG_IGN)
