"""What a person sees while a verb works: bars and a table of epochs on a terminal, lines elsewhere, all on stderr.

Knows no verb and computes no figure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge_tl.cli._console import KEPT, say
from edge_tl.device.format import clock, number
from edge_tl.device.listener import Event, Listener, Silent
from edge_tl.device.text import printable

if TYPE_CHECKING:
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
    "gates": "gates",
    "images": "images",
    "survey": "looking at every image",
    "decoding": "decoding into the cache",
    "validating": "validating before the first epoch",
    "judging": "judging what was kept",
}

LIVE_EPOCHS = 12  # rows of the table while it is alive; all of them at the end
LIVE_COLUMNS = {"epoch", "stage", "train_loss", "val_loss", "val_accuracy", "images_per_s", "seconds", "mark"}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
NAME, COUNT = 34, 16  # characters of a bar's name, and of its count with the gaps
QUIET_S = 1.0  # without a word for so long, a line that moves says that something is being done
NARROW = 80  # a narrower terminal has no room for these columns
WIDE_COLUMNS = {"train_loss", "images_per_s"}


@contextmanager
def open_listener() -> Iterator[Listener]:
    """The listener for where stderr leads: a terminal, or a file or pipe."""
    if sys.stderr.isatty():
        with LiveListener() as live:
            yield live
    else:
        yield PlainListener()


class PlainListener(Silent):
    """One line for each step, note and epoch."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def progress(self, what: str, done: int, total: int) -> None:
        if total and what not in self._begun:
            self._begun.add(what)
            say(f"{STEPS.get(what, what)} …")

    def note(self, text: str) -> None:
        say(text)

    def event(self, event: Event) -> None:
        from edge_tl.host.listeners import EpochEvent

        if isinstance(event, EpochEvent):
            say(_epoch_line(event.record))

    @contextmanager
    def section(self, title: str) -> Iterator[Listener]:
        """A new listener below the title: the epochs of two trainings are no one table."""
        say(title)
        with open_listener() as listener:
            yield listener


class LiveListener(Silent):
    """A bar for each step, a table of epochs and the step of the epoch, redrawn in place; notes above them.

    A context manager: it draws until the context ends.
    """

    def __init__(self) -> None:
        self._live: Any = None
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._epochs: list[EpochEvent] = []
        self._step: StepEvent | None = None
        self._ended = False
        self._moved = perf_counter()  # when something was last told
        self._epoch_at = self._moved

    def __enter__(self) -> LiveListener:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining
        from rich.table import Column

        console = Console(stderr=True)
        wide = console.width >= NARROW
        bar, room = (30, NAME) if wide else (10, max(console.width - 10 - COUNT, 10))
        shape = Column(overflow="ellipsis", no_wrap=True, max_width=room)
        columns: list[Any] = [TextColumn("{task.description}", table_column=shape), BarColumn(bar)]
        columns.append(MofNCompleteColumn(table_column=Column(no_wrap=True)))
        if wide:  # elsewhere the name and the count matter more
            columns += [TimeElapsedColumn(), Remaining()]
        self._bars = Progress(*columns, console=console)
        self._live = Live(console=console, get_renderable=self._screen, refresh_per_second=8)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._live.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        if not total:
            return
        self._moved = perf_counter()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(STEPS.get(what, what), total=total)
        task = self._bars._tasks[self._tasks[what]]
        if done < task.completed:  # the same step again, of other images
            self._bars.reset(self._tasks[what], total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def note(self, text: str) -> None:
        self._live.console.print(printable(text, keep=KEPT), markup=False, highlight=False)

    def event(self, event: Event) -> None:
        from edge_tl.host.listeners import EpochEvent, StepEvent

        self._moved = perf_counter()
        if isinstance(event, StepEvent):
            self._step = event
        elif isinstance(event, EpochEvent):
            self._epochs.append(event)
            self._epoch_at = self._moved
            self._step = None

    def _screen(self) -> Any:
        """What is alive at the bottom of the terminal; once ended, with every epoch."""
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = [self._bars] if self._tasks else []
        epochs, step = list(self._epochs), self._step  # another thread draws than the one that trains
        room = (
            self._bars.console.height - len(self._tasks) - 5
        )  # heading, rule, hidden, current, the cursor's
        shown = len(epochs) if self._ended else min(len(epochs), LIVE_EPOCHS, max(room, 1))
        if hidden := len(epochs) - shown:
            parts.append(Text(f" … {hidden} earlier epochs", style="dim"))
        if epochs:
            parts.append(_epoch_table([e.record for e in epochs], shown, self._bars.console.width))
        if step and not self._validating(step):
            named = len({step.stage, *(e.record.stage for e in epochs)}) > 1
            left = self._remaining(step)
            parts.append(_step_line(replace(step, remaining_s=left), self._bars.console.width, named=named))
        elif not self._ended and perf_counter() - self._moved > QUIET_S:
            parts.append(self._waiting(step))
        return Group(*parts)

    def _validating(self, step: StepEvent) -> bool:
        """Whether the last step of the epoch was told some time ago: what takes time now is no training step."""
        return step.step >= step.steps - 1 and perf_counter() - self._moved > QUIET_S

    def _remaining(self, step: StepEvent) -> float:
        """Seconds; where this process saw whole epochs, by them, validation included."""
        seen = [e.record for e in self._epochs if not e.earlier]
        if not seen:
            return step.remaining_s
        before = next((e.record.seconds for e in reversed(self._epochs) if e.earlier), 0.0)
        each = (seen[-1].seconds - before) / len(seen)
        left = each * (step.epochs - seen[-1].epoch)
        return max(0.0, left - (perf_counter() - self._epoch_at))

    def _waiting(self, step: StepEvent | None) -> Any:
        """A moving line while nothing else moves: what is being done, and for how long already."""
        from rich.text import Text

        if step:
            what = f"epoch {step.epoch}/{step.epochs}: validating"
        elif self._epochs:
            last = self._epochs[-1].record
            over = last.epoch >= last.epochs
            what = "judging and saving what was kept" if over else "preparing the next epoch"
        else:
            what = "preparing the next step" if self._tasks else "starting"
        now = perf_counter()
        mark = SPINNER[int(now * 8) % len(SPINNER)]
        return Text(f" {mark} {what}, {clock(now - self._moved)}", style="dim")


def _epoch_line(epoch: EpochRecord) -> str:
    from edge_tl.host.reports import run_tables

    (row,) = run_tables.epochs([asdict(epoch)])
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

    rows = run_tables.epochs(
        [asdict(epoch) for epoch in epochs]
    )  # of all, so that the best is the best of all
    wanted = LIVE_COLUMNS - (WIDE_COLUMNS if width < NARROW else set())
    columns = [c for c in run_tables.epoch_columns(rows) if c.key in wanted]
    table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, header_style="dim")
    for column in columns:
        justify: Any = "right" if column.numeric else "left"
        table.add_column(
            column.heading, justify=justify, no_wrap=True, max_width=11 if column.key == "stage" else None
        )
    for row in rows[-shown:]:
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
