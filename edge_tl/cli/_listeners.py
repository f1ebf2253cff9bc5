"""What a person sees while a verb works: a bar for each step on a terminal, lines elsewhere, all on stderr.

Computes no figure. The epochs of a training are `_training_listeners`'s.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge_tl.cli._console import QUIET, VERBOSE, fitted, say, volume
from edge_tl.device.format import DASH, clock, number
from edge_tl.device.listener import Listener, Silent

if TYPE_CHECKING:
    from rich.progress import TaskID

STEPS = {
    "latency": "timing, in fresh processes",
    "tune": "timing in turns, in fresh processes",
}  # where the step's own name does not say enough

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
# Characters of a bar's name, and with a gap those of its count, its rate and what it takes still.
NAME, COUNT, RATE, LEFT = 35, 12, 11, 14
QUIET_S = 1.0  # after so long without progress, a line that moves shows that work goes on
NARROW, NARROWEST = 80, 46  # a narrower terminal has no room for the rate, or for the time left
EACH_S = 10.0  # between two lines of one step


def is_drawn_on() -> bool:
    """Whether stderr is a terminal on which lines may be drawn anew, in colours."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class QuietListener(Silent):
    """Warnings, and nothing of the work."""

    def note(self, text: str) -> None:
        say(text)


class PlainListener(Silent):
    """One line for each step and note. A person who waits, at a terminal or with -v, is told every `EACH_S` how far a
    step is; with -v also what each took."""

    steps: Mapping[str, str] = STEPS

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}  # when each step that goes on did
        self._named: set[str] = set()
        self._told = perf_counter()
        self._lock = threading.Lock()

    def progress(self, what: str, done: int, total: int) -> None:
        if not (total or done):
            return
        with self._lock:
            self._progress(what, done, total)

    def _progress(self, what: str, done: int, total: int) -> None:
        now, name = perf_counter(), self.steps.get(what, what)
        if what not in self._named:
            self._named.add(what)
            say(f"{name} …")
        if what not in self._begun:
            self._begun[what] = self._told = now
        seconds = now - self._begun[what]
        if total and done >= total:
            if volume() == VERBOSE:
                say(f"{name}: {pace(done, total, seconds)}")
            del self._begun[what]
        elif now - self._told >= EACH_S and (sys.stderr.isatty() or volume() == VERBOSE):
            self._told = now
            say(f"{name}: {pace(done, total, seconds)}")

    def note(self, text: str) -> None:
        say(text)


def pace(done: int, total: int, seconds: float) -> str:
    """How far a step is after `seconds`: "120 of 3,670, 203/s, 0:00:18 left", and once ended what it took."""
    if total and done >= total:
        return f"{number(done, 0)} in {number(seconds, 1)} s{f', {per_second(done / seconds)}' if seconds else ''}"
    parts = [f"{number(done, 0)}{f' of {number(total, 0)}' if total else ''}"]
    if done and seconds:
        parts.append(per_second(done / seconds))
        if total:
            parts.append(f"{clock((total - done) * seconds / done)} left")
    return ", ".join(parts)


def per_second(rate: float) -> str:
    """A rate as people read it: "203/s", "4.1/s", or for slow things "12.5 s each"."""
    if rate < 0.5:
        return f"{number(1 / rate, 1)} s each" if rate > 0 else DASH
    return f"{number(rate, 0 if rate >= 10 else 1)}/s"


class LiveListener(Silent):
    """A bar for each step, redrawn in place; notes above them.

    A context manager: it draws until the context ends.
    """

    steps: Mapping[str, str] = STEPS

    def __init__(self, *, transient: bool = False) -> None:
        self._live: Any = None
        self._bars: Any = None
        self._tasks: dict[str, TaskID] = {}
        self._ended = False
        self._transient = transient  # nothing of it stays
        self._moved = self._now()  # when there was news last

    def __enter__(self) -> LiveListener:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._bars = _bars(console)
        self._live = Live(
            console=console,
            get_renderable=self._screen,
            refresh_per_second=8,
            transient=self._transient,
            redirect_stdout=False,  # what is printed there is a result, and may be read by a program
        )
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._live.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        if not (total or done):
            return
        self._moved = self._now()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(self.steps.get(what, what), total=total or None)
        task = self._bars._tasks[self._tasks[what]]
        if done < task.completed:  # the same step again, of other images
            self._bars.reset(self._tasks[what], total=total)
        self._bars.update(self._tasks[what], completed=done, total=total or None)

    def note(self, text: str) -> None:
        console = self._live.console
        console.print(fitted(text, console.width), markup=False, highlight=False, soft_wrap=True)

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


def _bars(console: Any) -> Any:
    """Bars with the count, the rate and the time left, as many of them as the terminal has room for. Colours are those
    of its palette, which suit a light and a dark ground."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Any:
            return Text(per_second(task.speed) if task.speed else "", style="green", justify="right")

    class Left(ProgressColumn):
        def render(self, task: Any) -> Any:
            if task.finished:
                return Text(f"in {clock(task.finished_time)}", style="dim")
            left = task.time_remaining
            return Text("" if left is None else f"{clock(left)} left", style="cyan")

    width = console.width
    whole = Column(no_wrap=True)
    bar = max(6, min(30, width - NAME - COUNT - RATE - LEFT)) if width >= NARROW else 6
    columns: list[Any] = [MofNCompleteColumn(table_column=whole)]
    columns += [Rate(table_column=whole)] if width >= NARROW else []
    columns += [Left(table_column=whole)] if width >= NARROWEST else []
    others = bar + COUNT + (RATE if width >= NARROW else 0) + (LEFT if width >= NARROWEST else 0)
    shape = Column(overflow="ellipsis", no_wrap=True, max_width=max(min(NAME, width - others), 10))
    drawn = BarColumn(
        bar, style="bright_black", complete_style="cyan", finished_style="green", pulse_style="cyan"
    )
    return Progress(TextColumn("{task.description}", table_column=shape), drawn, *columns, console=console)


@contextmanager
def open_listener(
    live: Callable[[], LiveListener] = LiveListener, plain: Callable[[], Listener] = PlainListener
) -> Iterator[Listener]:
    """The listener for what was asked and where stderr leads: `live` on a terminal that can be drawn on, `plain` lines
    elsewhere, with -q neither."""
    if volume() == QUIET:
        yield QuietListener()
    elif is_drawn_on():
        with live() as drawn:
            yield drawn
    else:
        yield plain()
