"""The confusion matrix of a record: its cells, and the classes that are confused most. Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from edge_tl.device.format import DASH, number, one_line
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


def most_confused(
    matrix: ConfusionMatrix,
    labels: Sequence[str],
    limit: int,
    beside: tuple[str, ConfusionMatrix] | None = None,
) -> Table:
    """The `limit` most frequent wrong answers of a matrix, or of it and one `beside` it, which is named."""
    counts, images = confusion_cells(matrix), Counter[int]()
    for i, _, n in counts:
        images[i] += n
    own = {(i, j): n for i, j, n in counts if i != j}
    others = {(i, j): n for i, j, n in confusion_cells(beside[1]) if i != j} if beside else {}
    most = {cell: max(own.get(cell, 0), others.get(cell, 0)) for cell in own.keys() | others.keys()}
    rows = [
        {"label": one_line(labels[i]), "predicted": one_line(labels[j])}
        | {"count": number(own.get((i, j), 0), 0), "other": number(others.get((i, j), 0), 0)}
        | {"share": number(own.get((i, j), 0) / images[i], 1, 100) if images[i] else DASH}
        for i, j in sorted(most, key=lambda cell: (-most[cell], cell))[:limit]
    ]
    if beside is None:
        return Table(CONFUSED, rows)
    first, second, count, share = CONFUSED
    columns = (count._replace(heading="images, PyTorch"), share._replace(heading="% of that class, PyTorch"))
    return Table((first, second, *columns, Column("other", f"images, {beside[0]}")), rows)


def confusion_cells(matrix: ConfusionMatrix) -> list[tuple[int, int, int]]:
    """`(label, answer, count)` wherever there is a count."""
    if not isinstance(matrix, Sequence):
        return list(matrix.cells)
    return [(i, j, n) for i, row in enumerate(matrix) for j, n in enumerate(row) if n]
