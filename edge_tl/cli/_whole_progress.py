"""One bar above the others for a run of several verbs: how much of the whole is done, and about how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from edge_tl.cli._listeners import open_listener
from edge_tl.cli._training_listeners import LiveTrainingListener, PlainTrainingListener
from edge_tl.device.format import clock
from edge_tl.device.listener import Event, Listener
from edge_tl.host.listeners import StepEvent

# The steps of a run in their order, each with its share of the whole: seconds of MobileNetV2 on 3,670 photographs, two
# cores. Steps that are not listed stand still; a training of epochs tells how long it takes itself.
SHARES = {
    "hashing": 2.0,
    "features": 18.0,
    "head": 4.0,
    "training": 0.0,
    "export": 12.0,
    "ranges": 10.0,
    "evaluation": 30.0,
    "latency": 30.0,
}
_LEAST = 0.02  # of the whole, before which a rate says nothing
_ORDER = list(SHARES)


class WholeProgress:
    """What is done of the whole, by steps that only go forward. Seconds are those of `perf_counter`."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._place = 0
        self._within = 0.0
        self._training_s = 0.0  # what epochs take still, by their own account

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of the step `what`; one of before is the same step of other images, and counts as done."""
        if what not in SHARES or not total or (place := _ORDER.index(what)) < self._place:
            return
        fraction = done / total
        self._within = max(self._within, fraction) if place == self._place else fraction
        self._place = place
        if place > _ORDER.index("training"):
            self._training_s = 0.0

    def training(self, remaining_s: float) -> None:
        """A training goes on for so many seconds."""
        self._place, self._within, self._training_s = _ORDER.index("training"), 0.0, remaining_s

    @property
    def fraction(self) -> float:
        """Of the whole, but for trainings of epochs, from 0 to 1."""
        before = sum(SHARES[name] for name in _ORDER[: self._place])
        return (before + self._within * SHARES[_ORDER[self._place]]) / sum(SHARES.values())

    def left_s(self, now: float) -> float | None:
        """About how many seconds it takes still, as fast as it went so far; None too early."""
        if self.fraction < _LEAST:
            return None
        spent = now - self._begun
        if self._training_s:  # epochs took most of it: what comes after goes as fast as the steps before
            return self._training_s + (1 - self.fraction) * sum(SHARES.values())
        return spent * (1 - self.fraction) / self.fraction


class LiveWholeListener(LiveTrainingListener):
    """As a training's, below a bar for the whole."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = WholeProgress(perf_counter())

    def progress(self, what: str, done: int, total: int) -> None:
        self._whole.step(what, done, total)
        super().progress(what, done, total)

    def event(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            self._whole.training(event.remaining_s)
        super().event(event)

    def _screen(self) -> Any:
        from rich.console import Group

        return super()._screen() if self._ended else Group(self._whole_line(), super()._screen())

    def _whole_line(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        left = self._whole.left_s(perf_counter())
        line = Table.grid(padding=(0, 1))
        for _ in range(4):
            line.add_column(no_wrap=True)
        line.add_row(
            Text(" the whole run", style="bold"),
            ProgressBar(total=1.0, completed=self._whole.fraction, width=24),
            Text(f"{self._whole.fraction:.0%}", style="green"),
            Text("" if left is None else f"about {clock(left)} left", style="cyan"),
        )
        return line


@contextmanager
def open_whole_listener() -> Iterator[Listener]:
    """The listener for where stderr leads, with the whole above its steps."""
    with open_listener(LiveWholeListener, PlainTrainingListener) as listener:
        yield listener
