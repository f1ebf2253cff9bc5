"""The confusion matrix of a record: its cells, and the classes that are confused most. Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from edge_tl.device.format import number, one_line
from edge_tl.host.reports.table import Column, Table


class SparseMatrix(Protocol):
    """A matrix that is mostly zeros: `(label, answer, count)` of the other cells."""

    @property
    def classes(self) -> int: ...

    @property
    def cells(self) -> tuple[tuple[int, int, int], ...]: ...


ConfusionMatrix = Sequence[Sequence[int]] | SparseMatrix
"""Counts `[label][answer]`."""

CONFUSED = (
    Column("label", "true label", False),
    Column("predicted", "predicted as", False),
    Column("count", "images"),
    Column("share", "% of that class"),
)


def is_of(matrix: ConfusionMatrix, classes: int) -> bool:
    """Whether it is a matrix of so many classes: a record may be anybody's."""
    if isinstance(matrix, Sequence):
        return len(matrix) == classes and all(len(row) == classes for row in matrix)
    known = range(classes)
    return matrix.classes == classes and all(i in known and j in known for i, j, _ in matrix.cells)


def most_confused(matrix: ConfusionMatrix, labels: Sequence[str], limit: int) -> Table:
    """The `limit` most frequent wrong answers."""
    counts, images = confusion_cells(matrix), Counter[int]()
    for i, _, n in counts:
        images[i] += n
    wrong = sorted(((n, i, j) for i, j, n in counts if i != j), key=lambda cell: (-cell[0], cell[1:]))
    rows = [
        {"label": one_line(labels[i]), "predicted": one_line(labels[j]), "count": number(n, 0)}
        | {"share": number(n / images[i], 1, 100)}
        for n, i, j in wrong[:limit]
    ]
    return Table(CONFUSED, rows)


def confusion_cells(matrix: ConfusionMatrix) -> list[tuple[int, int, int]]:
    """`(label, answer, count)` wherever there is a count."""
    if not isinstance(matrix, Sequence):
        return list(matrix.cells)
    return [(i, j, n) for i, row in enumerate(matrix) for j, n in enumerate(row) if n]
