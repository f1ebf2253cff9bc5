"""A listener that calls what a test gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_tl.device.listener import Event, Silent


class Listening(Silent):
    def __init__(
        self,
        *,
        progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
        note: Callable[[str], Any] = lambda text: None,
        event: Callable[[Any], Any] = lambda event: None,
    ) -> None:
        self._progress, self._note, self._event = progress, note, event

    def progress(self, what: str, done: int, total: int) -> None:
        self._progress(what, done, total)

    def note(self, text: str) -> None:
        self._note(text)

    def event(self, event: Event) -> None:
        self._event(event)
