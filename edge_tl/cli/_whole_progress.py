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
    "gates": 3.0,
    "latency after gates": 12.0,  # the steps of one prediction, and the page
}
_LEAST = 0.02  # of the whole, before which a rate says nothing
_ORDER = list(SHARES)
_TRAINING = _ORDER.index("training")


class WholeProgress:
    """What is done of the whole, by steps that only go forward. Seconds are those of `perf_counter`."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._place = 0
        self._within = 0.0
        self._epochs: tuple[float, float] | None = None  # when they began, and when they were heard of last
        self._training_s = 0.0  # what epochs take still, by their own account
        self._shown = 0.0

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of the step `what`; one of before is the same step of other images, and counts as done."""
        if what == "latency" and self._place >= _ORDER.index("gates"):
            what = "latency after gates"
        if what not in SHARES or not total or (place := _ORDER.index(what)) < self._place:
            return
        fraction = done / total
        self._within = max(self._within, fraction) if place == self._place else fraction
        self._place = place

    def training(self, remaining_s: float, now: float) -> None:
        """A training goes on for so many seconds."""
        self._place, self._within, self._training_s = _TRAINING, 0.0, remaining_s
        self._epochs = (self._epochs[0] if self._epochs else now, now)

    @property
    def of_steps(self) -> float:
        """The fraction that is done of all steps but epochs, from 0 to 1."""
        before = sum(SHARES[name] for name in _ORDER[: self._place])
        return (before + self._within * SHARES[_ORDER[self._place]]) / sum(SHARES.values())

    def fraction(self, now: float) -> float:
        """Of the whole, from 0 to 1; it never goes back. Where there are epochs, by the seconds of everything."""
        fraction = self.of_steps
        if self._epochs and (left := self.left_s(now)) is not None:
            spent = now - self._begun
            fraction = spent / (spent + left) if spent + left else 1.0
        self._shown = max(self._shown, fraction)
        return self._shown

    def left_s(self, now: float) -> float | None:
        """About how many seconds it takes still, as fast as it went so far; None too early. A step takes no longer
        because epochs took long."""
        done, spent = self.of_steps, now - self._begun
        if done < _LEAST:
            return None
        if not self._epochs:
            return spent * (1 - done) / done
        begun, heard = self._epochs
        trains = self._place == _TRAINING
        others = spent - ((now if trains else heard) - begun)
        rest = (1 - done) * max(others / done, sum(SHARES.values()) if trains else 0.0)
        return rest + (max(0.0, self._training_s - (now - heard)) if trains else 0.0)


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
            self._whole.training(event.remaining_s, perf_counter())
        super().event(event)

    def _screen(self) -> Any:
        from rich.console import Group

        return super()._screen() if self._ended else Group(self._whole_line(), super()._screen())

    def _whole_line(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = perf_counter()
        left, fraction = self._whole.left_s(now), self._whole.fraction(now)
        line = Table.grid(padding=(0, 1))
        for _ in range(4):
            line.add_column(no_wrap=True)
        line.add_row(
            Text(" the whole run", style="bold"),
            ProgressBar(total=1.0, completed=fraction, width=24),
            Text(f"{fraction:.0%}", style="green"),
            Text("" if left is None else f"about {clock(left)} left", style="cyan"),
        )
        return line


@contextmanager
def open_whole_listener() -> Iterator[Listener]:
    """The listener for where stderr leads, with the whole above its steps."""
    with open_listener(LiveWholeListener, PlainTrainingListener) as listener:
        yield listener
