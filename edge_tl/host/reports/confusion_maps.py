"""The confusion matrices of PyTorch and of an artifact beside each other, and their difference: drawn, or of many
classes as the pairs that are confused most. Counts no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from edge_tl.device.format import one_line
from edge_tl.device.records.accuracy import Confusion
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports import heatmap
from edge_tl.host.reports.class_comparison import compared_artifact
from edge_tl.host.reports.confusion import ConfusionMatrix, confusion_cells, is_of, most_confused
from edge_tl.host.reports.table import Column, Table

LARGEST_HEATMAP = 30  # classes; beyond that nobody finds the cell that matters
PAIRS = 30
DIFFERENCE = (
    Column("label", "true label", False),
    Column("predicted", "predicted as", False),
    Column("change", "images more"),
    Column("pytorch", "PyTorch"),
    Column("artifact", "artifact"),
)


class ConfusionMap(NamedTuple):
    """A matrix, or a difference of two (`signed`): whose it is, a drawing, and of many classes a table; or a
    sentence where there is nothing to draw."""

    owner: str
    svg: Markup | None = None
    pairs: Table | None = None
    signed: bool = False
    note: str = ""


def confusion_maps(record: BundleRecord) -> list[ConfusionMap]:
    """PyTorch's, the artifact's that is compared with it, and the difference of both; without those that are not known,
    or hold nothing."""
    labels, on = record.labels, f" on {record.reference.split}" if record.reference.split else ""
    artifact = compared_artifact(record)
    first, second = record.reference.confusion, artifact.confusion if artifact else None
    maps = [confusion_map(first, labels, one_line(f"PyTorch{on}"), key="pytorch")]
    if artifact and second and is_of(second, len(labels)):
        name = one_line(artifact.id)
        maps.append(confusion_map(second, labels, one_line(artifact.id + on), key="artifact"))
        if first and is_of(first, len(labels)):
            if maps[0].pairs:  # of both in one table
                both = most_confused(first, labels, PAIRS, (name, second))
                maps = [maps[0]._replace(pairs=both), maps[1]._replace(pairs=None)]
            maps.append(_difference(first, second, labels, f"{name} minus PyTorch"))
    return [each for each in maps if each.svg or each.note or (each.pairs and each.pairs.rows)]


def confusion_map(
    matrix: ConfusionMatrix | None, labels: Sequence[str], owner: str, *, key: str = "own"
) -> ConfusionMap:
    """One matrix; `key` makes the ids of its drawing its own. Neither a drawing nor a table of one that is not of these
    classes."""
    if matrix is None or not is_of(matrix, len(labels)):
        return ConfusionMap(owner)
    drawn, pairs = None, most_confused(matrix, labels, PAIRS)
    if isinstance(matrix, Sequence) and len(labels) <= LARGEST_HEATMAP:
        drawn = heatmap.heatmap(matrix, labels, owner, key=key)
    return ConfusionMap(owner, drawn, pairs if drawn is None or len(labels) > heatmap.MANY else None)


def _difference(first: Confusion, second: Confusion, labels: Sequence[str], owner: str) -> ConfusionMap:
    """How many more images of each cell the second has."""
    before, after = ({(i, j): n for i, j, n in confusion_cells(each)} for each in (first, second))
    cells = {cell: after.get(cell, 0) - before.get(cell, 0) for cell in before.keys() | after.keys()}
    if not any(cells.values()):
        return ConfusionMap(owner, signed=True, note="No difference: every count is the same.")
    drawn, k = None, range(len(labels))
    if len(labels) <= LARGEST_HEATMAP:
        images = [sum(n for (i, _), n in before.items() if i == row) for row in k]
        matrix = [[cells.get((i, j), 0) for j in k] for i in k]
        drawn = heatmap.difference(matrix, images, labels, owner)
        if len(labels) <= heatmap.MANY:
            return ConfusionMap(owner, svg=drawn, signed=True)
    changed = sorted(((cell, n) for cell, n in cells.items() if n), key=lambda each: (-abs(each[1]), each[0]))
    rows = [
        {"label": one_line(labels[i]), "predicted": one_line(labels[j]), "change": f"{n:+,}"}
        | {"pytorch": f"{before.get((i, j), 0):,}", "artifact": f"{after.get((i, j), 0):,}"}
        for (i, j), n in changed[:PAIRS]
    ]
    return ConfusionMap(owner, drawn, Table(DIFFERENCE, rows), signed=True)
