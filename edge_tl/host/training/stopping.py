"""An interrupt between two optimizer steps instead of in the middle of one, so that the state can be kept. Trains and
writes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Stop:
    """`asked` once somebody wants this process to end."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raises `KeyboardInterrupt` where somebody asked: at a place where nothing is half done."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def deferred(wanted: bool = True) -> Iterator[Stop]:
    """Yield what the first interrupt sets (SIGINT, and SIGTERM and SIGHUP where the program has made interrupts of
    them); a second one does at once what the first would have done. In the main thread alone; else nothing changes."""
    stop = Stop()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in numbers if callable(signal.getsignal(number))
    }

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is first:
                signal.signal(number, handler)

    def first(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        for handler in before.values():  # whoever ends calls that never return must not end this step
            if hasattr(handler, "deferred"):
                handler.deferred = True
        restore()

    for number in before:
        signal.signal(number, first)
    try:
        yield stop
    finally:
        restore()
