"""Tables of text: columns with headings, and rows that hold a text for each column. Lays nothing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from edge_tl.device.format import one_line
from edge_tl.device.records.codec import Json

Row = dict[str, str]


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
    def cells(self) -> list[list[str]]:
        """The texts of every row, in the order of the columns."""
        return [[row[column.key] for column in self.columns] for row in self.rows]

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
