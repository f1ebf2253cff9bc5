"""Tables of text: columns with headings, and rows that hold a text for each column. Lays nothing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from edge_tl.device.format import DASH, one_line
from edge_tl.device.records.codec import Json

Row = dict[str, str]

FOLDS = tuple(range(300, 1101, 100))
"""CSS pixels that a table may need; the page has a rule for each."""
_CHARACTER, _PADDING = 8.7, 18.0  # of a wide system font at the size of tables, and of a cell
_LONG = 28  # characters; longer text wraps


class Column(NamedTuple):
    """One column: its key in every row, what people read above it, and whether it is aligned right."""

    key: str
    heading: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows may hold more than the columns show, e.g. `mark`, which a page highlights."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    @property
    def headings(self) -> list[str]:
        """What people read above the columns."""
        return [column.heading for column in self.columns]

    @property
    def names(self) -> list[str]:
        """What the rows are about: their first cells, as far as a glossary needs them, and whether one is a dash."""
        first = list(dict.fromkeys(row[column.key] for column in self.columns[:1] for row in self.rows[:32]))
        return [*first, *([DASH] if any(DASH in cells for cells in self.cells) else [])]

    @property
    def cells(self) -> list[list[str]]:
        """The texts of every row, in the order of the columns."""
        return [[row[column.key] for column in self.columns] for row in self.rows]

    def telling(self) -> Table:
        """Without the columns, after the first, that hold a dash or nothing in every row."""
        kept = [c for c in self.columns[1:] if any(row[c.key] not in (DASH, "") for row in self.rows)]
        return replace(self, columns=[*self.columns[:1], *kept])

    @property
    def fold(self) -> str:
        """The CSS class that folds a row into a block where there are fewer pixels than this table is estimated to
        need."""
        needed = sum(self._characters(column) * _CHARACTER + _PADDING for column in self.columns)
        return f"fold-{next((width for width in FOLDS if width >= needed), 'always')}"

    def _characters(self, column: Column) -> int:
        """That do not wrap: of a heading the longest word, of a figure it or its interval, of text at most `_LONG`."""
        texts = [row[column.key] for row in self.rows]
        parts = [part for text in texts for part in text.replace(" [", "\n[").split("\n")]
        longest = max([*map(len, column.heading.split()), *map(len, parts)], default=0)
        return min(longest, _LONG)

    def first(self, count: int) -> Table:
        """With so many rows."""
        return replace(self, rows=self.rows[:count])


def named_values(record: Json, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON object as flat (name, text) pairs: a machine, versions; nothing of what is no object."""
    pairs: list[tuple[str, str]] = []
    for key, value in record.items() if isinstance(record, Mapping) else ():
        if isinstance(value, Mapping):
            pairs += named_values(value, f"{prefix}{key} ")
        else:
            value = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            pairs.append((one_line(f"{prefix}{key}".replace("_", " ")), one_line(value)))
    return pairs
