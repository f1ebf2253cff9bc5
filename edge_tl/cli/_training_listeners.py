"""What a person sees of a training: a table of epochs and the step of the epoch on a terminal, lines elsewhere.

Computes no figure but the time that is left. It needs the host part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edge_tl.cli._console import QUIET, say, volume
from edge_tl.cli._listeners import (
    NARROW,
    QUIET_S,
    LiveListener,
    PlainListener,
    QuietListener,
    open_listener,
)
from edge_tl.device.format import clock, number
from edge_tl.device.listener import Event, Listener
from edge_tl.host.listeners import EpochEvent, StepEvent
from edge_tl.host.runs.record import EpochRecord

STEPS = {
    "hashing": "reading files",
    "features": "features of the frozen backbone",
    "head": "solving the head",
    "export": "exporting and quantizing",
    "ranges": "ranges of activations",
    "evaluation": "evaluating PyTorch and artifacts",
    "latency": "timing, in fresh processes",
    "survey": "looking at every image",
    "decoding": "decoding into the cache",
    "validating": "validating before the first epoch",
    "judging": "evaluating what was kept",
}
AFTER_TRAINING = {"export", "ranges", "evaluation", "latency"}  # steps of other verbs, in the same run
LIVE_EPOCHS = 12  # rows of the table while it is alive; all of them at the end
LIVE_COLUMNS = {"epoch", "stage", "train_loss", "val_loss", "val_accuracy", "images_per_s", "seconds", "mark"}
WIDE_COLUMNS = {"train_loss", "images_per_s"}  # a narrow terminal has no room for them


@contextmanager
def open_training_listener() -> Iterator[Listener]:
    """The listener for where stderr leads, with epochs."""
    with open_listener(LiveTrainingListener, PlainTrainingListener) as listener:
        yield listener


def listener_of_several() -> Listener:
    """For several trainings below each other, each of which opens its own below its title."""
    return QuietListener() if volume() == QUIET else PlainTrainingListener()


class PlainTrainingListener(PlainListener):
    """One line for each step, note and epoch."""

    steps = STEPS

    def event(self, event: Event) -> None:
        if isinstance(event, EpochEvent):
            say(_epoch_line(event.record))

    @contextmanager
    def section(self, title: str) -> Iterator[Listener]:
        """A new listener below the title: the epochs of two trainings are no one table."""
        say(title)
        with open_training_listener() as listener:
            yield listener


class LiveTrainingListener(LiveListener):
    """A bar for each step, a table of epochs and the step of the epoch, redrawn in place; notes above them."""

    steps = STEPS

    def __init__(self) -> None:
        super().__init__()
        self._epochs: list[EpochEvent] = []
        self._step: StepEvent | None = None
        self._epoch_at = self._moved

    def event(self, event: Event) -> None:
        self._moved = self._now()
        if isinstance(event, StepEvent):
            self._step = event
        elif isinstance(event, EpochEvent):
            self._epochs.append(event)
            self._epoch_at = self._moved
            self._step = None

    def _below_bars(self) -> list[Any]:
        """The last epochs, once ended all of them, and the step of the current one."""
        from rich.text import Text

        parts: list[Any] = []
        epochs, step = list(self._epochs), self._step  # another thread draws than the one that trains
        console = self._bars.console
        room = console.height - len(self._tasks) - 5  # heading, rule, hidden, current, the cursor's
        shown = len(epochs) if self._ended else min(len(epochs), LIVE_EPOCHS, max(room, 1))
        if hidden := len(epochs) - shown:
            parts.append(Text(f" … {hidden} earlier epochs", style="dim"))
        if epochs:
            parts.append(_epoch_table([e.record for e in epochs], shown, console.width))
        if step and not self._validating(step):
            named = len({step.stage, *(e.record.stage for e in epochs)}) > 1
            left = self._remaining(step)
            return [*parts, _step_line(replace(step, remaining_s=left), console.width, named=named)]
        return [*parts, *super()._below_bars()]

    def _validating(self, step: StepEvent) -> bool:
        """Whether the last step of the epoch ended some time ago: what takes time now is no training step."""
        return step.step >= step.steps - 1 and self._now() - self._moved > QUIET_S

    def _remaining(self, step: StepEvent) -> float:
        """Seconds; where this process saw whole epochs, by them, validation included."""
        seen = [e.record for e in self._epochs if not e.earlier]
        if not seen:
            return step.remaining_s
        before = next((e.record.seconds for e in reversed(self._epochs) if e.earlier), 0.0)
        each = (seen[-1].seconds - before) / len(seen)
        left = each * (step.epochs - seen[-1].epoch)
        return max(0.0, left - (self._now() - self._epoch_at))

    def _work(self) -> str:
        if self._step:
            return f"epoch {self._step.epoch}/{self._step.epochs}: validating"
        if not self._epochs:
            return super()._work()
        last = self._epochs[-1].record
        if last.epoch < last.epochs:
            return "preparing the next epoch"
        return (
            super()._work() if self._tasks.keys() & AFTER_TRAINING else "evaluating and saving what was kept"
        )


def _epoch_line(epoch: EpochRecord) -> str:
    from edge_tl.host.reports import run_tables

    (row,) = run_tables.epoch_table([epoch]).rows
    return (
        f"epoch {row['epoch']}/{epoch.epochs} ({row['stage']}): loss {row['train_loss']}, "
        f"val loss {row['val_loss']}, val accuracy {row['val_accuracy']} %, {row['images_per_s']} images/s, "
        f"{row['seconds']} elapsed{', best so far' if epoch.best else ''}"
    )


def _epoch_table(epochs: list[EpochRecord], shown: int, width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edge_tl.host.reports import run_tables

    # Of all of them, so that the best is the best of all.
    whole = run_tables.epoch_table(epochs)
    wanted = LIVE_COLUMNS - (WIDE_COLUMNS if width < NARROW else set())
    columns = [column for column in whole.columns if column.key in wanted]
    table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, header_style="dim")
    for column in columns:
        justify: Any = "right" if column.numeric else "left"
        table.add_column(
            column.heading, justify=justify, no_wrap=True, max_width=11 if column.key == "stage" else None
        )
    for row in whole.rows[-shown:]:
        table.add_row(*(Text(row[c.key]) for c in columns), style="bold green" if row["mark"] else None)
    return table


def _step_line(step: StepEvent, width: int, *, named: bool) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    place = Text(f" {step.stage if named else 'epoch'} {step.epoch}/{step.epochs}")
    figures: tuple[Any, ...] = (
        Text(f"{step.step}/{step.steps}", style="green"),
        Text(f"loss {number(step.loss, 4)}"),
        Text(f"{number(step.images_per_s, 0)} images/s"),
        Text(f"{clock(step.remaining_s)} left", style="cyan"),
    )
    while len(figures) > 2 and width - sum(len(text) + 1 for text in (place, *figures)) < 9:
        figures = (*figures[:-2], figures[-1])  # the time left stays
    spare = width - sum(len(text) + 1 for text in (place, *figures)) - 1
    bar = ProgressBar(total=step.steps, completed=step.step, width=max(4, min(30, spare)))
    line = Table.grid(padding=(0, 1))
    for _ in range(2 + len(figures)):
        line.add_column(no_wrap=True)
    line.add_row(place, bar, *figures)
    return line
