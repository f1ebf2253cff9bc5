"""What a person sees while a verb works: a bar for each step on a terminal, lines elsewhere, all on stderr.

Computes no figure. The epochs of a training are `_training_listeners`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge_tl.cli._console import KEPT, say
from edge_tl.device.format import clock
from edge_tl.device.listener import Listener, Silent
from edge_tl.device.text import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

STEPS = {
    "latency": "timing, in fresh processes",
    "tune": "timing in turns, in fresh processes",
}  # where the step's own name does not say enough

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
NAME, COUNT = 34, 16  # characters of a bar's name, and of its count with the gaps
QUIET_S = 1.0  # after so long without progress, a line that moves shows that work goes on
NARROW = 80  # a narrower terminal has no room for some columns


@contextmanager
def open_listener() -> Iterator[Listener]:
    """The listener for where stderr leads: a terminal, or a file or pipe."""
    if sys.stderr.isatty():
        with LiveListener() as live:
            yield live
    else:
        yield PlainListener()


class PlainListener(Silent):
    """One line for each step and note."""

    steps: Mapping[str, str] = STEPS

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def progress(self, what: str, done: int, total: int) -> None:
        if total and what not in self._begun:
            self._begun.add(what)
            say(f"{self.steps.get(what, what)} …")

    def note(self, text: str) -> None:
        say(text)


class LiveListener(Silent):
    """A bar for each step, redrawn in place; notes above them.

    A context manager: it draws until the context ends.
    """

    steps: Mapping[str, str] = STEPS

    def __init__(self) -> None:
        self._live: Any = None
        self._bars: Any = None
        self._tasks: dict[str, TaskID] = {}
        self._ended = False
        self._moved = self._now()  # when there was news last

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
        self._moved = self._now()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(self.steps.get(what, what), total=total)
        task = self._bars._tasks[self._tasks[what]]
        if done < task.completed:  # the same step again, of other images
            self._bars.reset(self._tasks[what], total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def note(self, text: str) -> None:
        self._live.console.print(printable(text, keep=KEPT), markup=False, highlight=False)

    def _now(self) -> float:
        return perf_counter()

    def _screen(self) -> Any:
        """Everything that is redrawn at the bottom of the terminal."""
        from rich.console import Group

        return Group(*([self._bars] if self._tasks else []), *self._below_bars())

    def _below_bars(self) -> list[Any]:
        """A moving line while nothing else moves: what is being done, and for how long already."""
        from rich.text import Text

        quiet = self._now() - self._moved
        if self._ended or quiet <= QUIET_S:
            return []
        mark = SPINNER[int(self._now() * 8) % len(SPINNER)]
        return [Text(f" {mark} {self._work()}, {clock(quiet)}", style="dim")]

    def _work(self) -> str:
        """What is being done while no step has begun."""
        return "preparing the next step" if self._tasks else "starting"
