"""Columns of text as wide as the terminal. It formats no number: its cells are ready to be read."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from edge_tl.device.format import DASH

GAP = "  "
MEANS = "not measured, does not apply, or too few calls for this percentile"
SENTENCE = 24  # the last column is wrapped rather than moved while it has so many characters


def grid(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    names: int | None = None,
    width: int | None = None,
) -> str:
    """Columns as wide as their widest cell; the first `left` are left-aligned, the others right.

    In `width` characters (None: the terminal's; a file or a pipe has no end): the last column's sentences are
    wrapped, and columns that do not fit go on below, beside the first `names` again (None: those on the left).
    """
    room = _terminal() if width is None else width
    table = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    least = [*widths[:-1], min(widths[-1], SENTENCE)]
    parts = []
    for columns in _fold(least, left if names is None else names, room):
        sizes = [widths[i] for i in columns]
        if columns[-1] == len(widths) - 1:
            sizes[-1] = min(sizes[-1], max(room - sum(sizes[:-1]) - len(GAP) * len(sizes[:-1]), SENTENCE))
        # What is wrapped is read from the left, like the names.
        to_left = [i < left or size < widths[i] for i, size in zip(columns, sizes, strict=True)]
        chosen = [[row[i] for i in columns] for row in table]
        chosen.insert(1, ["-" * size for size in sizes])
        parts.append("\n".join(line for row in chosen for line in _lines(row, sizes, to_left)))
    return "\n\n".join(parts)


def explained(text: str) -> str:
    """`text` with what a dash in it means below it, where there is one."""
    return f"{text}\n{DASH}: {MEANS}" if DASH in text else text


def _terminal() -> int:
    """Characters in a line of the terminal on stdout; without one, more than any table has."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _fold(widths: Sequence[int], names: int, room: int) -> list[list[int]]:
    """The columns of every part; each begins with the first `names`, which say what a row is about."""
    parts = [list(range(names))]
    for i in range(names, len(widths)):
        if sum(widths[j] + len(GAP) for j in parts[-1]) + widths[i] > room and len(parts[-1]) > names:
            parts.append(list(range(names)))
        parts[-1].append(i)
    return parts


def _lines(row: Sequence[str], sizes: Sequence[int], to_left: Sequence[bool]) -> list[str]:
    """One row; the lines of its last cell below each other."""
    lines: list[str] = []
    for last in textwrap.wrap(row[-1], max(sizes[-1], 1), break_on_hyphens=False) or [""]:
        cells = zip(
            [*row[:-1], last] if not lines else [*[""] * (len(row) - 1), last], sizes, to_left, strict=True
        )
        aligned = [cell.ljust(size) if start else cell.rjust(size) for cell, size, start in cells]
        lines.append(GAP.join(aligned).rstrip())
    return lines
