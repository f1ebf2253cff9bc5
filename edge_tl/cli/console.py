"""What a person sees: notes, tables and progress on stderr, one JSON object on stdout; it must not compute."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Any

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; the rest goes to stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
Device = Annotated[str, typer.Option(help="What runs it; see `edge-tl devices`.")]
Artifacts = Annotated[
    list[str] | None, typer.Option("--artifact", help="Only this artifact, e.g. onnx-int8; repeatable.")
]

STEPS = {
    "hashing": "reading files",
    "features": "features of the frozen backbone",
    "head": "solving the head",
    "export": "exporting and quantizing",
    "evaluation": "PyTorch and every artifact on the evaluation images",
    "latency": "timing, in fresh processes",
    "gates": "gates",
    "images": "images",
}


def complain(text: str) -> None:
    """One error, on stderr."""
    sys.stderr.write(f"error: {text}\n")


def say(text: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(text + "\n")


def finish(result: Any, text: str, *, as_json: bool, code: int = 0) -> int:
    """End a verb: the result as JSON on stdout, or the text for a person. Returns the exit code."""
    if as_json:
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        sys.stdout.write(json.dumps(result, ensure_ascii=plain, allow_nan=False) + "\n")
    else:
        sys.stdout.write(text.rstrip() + "\n")
    return code


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns as wide as their widest cell; the first `left` are left-aligned, the others right."""
    widths = [max(len(str(row[i])) for row in [headings, *rows]) for i in range(len(headings))]
    lines = []
    for row in [headings, ["-" * w for w in widths], *rows]:
        cells = [
            str(cell).ljust(width) if i < left else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def milliseconds(value: float | None) -> str:
    """A latency, or a dash where the count does not support the percentile."""
    return "—" if value is None else f"{value:.2f}"


class Progress:
    """A bar a step on a terminal; one line a step elsewhere. Use as a context manager and call it."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars
            from rich.progress import TimeRemainingColumn as Remaining

            columns = (TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn())
            self._live = Bars(
                *columns, TimeElapsedColumn(), Remaining(), console=Console(stderr=True), transient=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not total:
            return
        name = STEPS.get(what, what)
        if self._live:
            if what not in self._tasks:
                self._tasks[what] = self._live.add_task(name, total=total)
            self._live.update(self._tasks[what], completed=done, total=total)
        elif what not in self._tasks:
            self._tasks[what] = None
            say(f"{name} …")

    def note(self, text: str) -> None:
        """A line for a person above the bars."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            say(text)
