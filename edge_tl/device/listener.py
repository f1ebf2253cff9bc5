"""How long work reports its progress: one protocol for every function that takes its time. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol


class Event:
    """Something that happened, as a record. Whoever tells of events defines their classes."""


class Listener(Protocol):
    """What long work calls, possibly from several threads. What a method raises ends the work."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of a step are done; `what` names the step."""

    def note(self, text: str) -> None:
        """One line for a person."""

    def event(self, event: Event) -> None:
        """A step of a training, the end of an epoch, a step of a remote device."""

    def section(self, title: str) -> AbstractContextManager[Listener]:
        """The listener for one of several similar parts, e.g. one training of a comparison."""


class Silent(Listener):
    """Shows nothing. Derive from it and override what is of interest."""

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def section(self, title: str) -> AbstractContextManager[Listener]:
        """The same listener."""
        return nullcontext(self)


SILENT: Listener = Silent()


class Listeners(Listener):
    """Tells each of several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def progress(self, what: str, done: int, total: int) -> None:
        for listener in self._listeners:
            listener.progress(what, done, total)

    def note(self, text: str) -> None:
        for listener in self._listeners:
            listener.note(text)

    def event(self, event: Event) -> None:
        for listener in self._listeners:
            listener.event(event)

    @contextmanager
    def section(self, title: str) -> Iterator[Listener]:
        with ExitStack() as stack:
            yield Listeners(*(stack.enter_context(each.section(title)) for each in self._listeners))
