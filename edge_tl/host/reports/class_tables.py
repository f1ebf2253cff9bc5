"""Each class of a bundle: how PyTorch and the recommended artifact do on it. Measures nothing."""

from __future__ import annotations

from collections import Counter

from edge_tl.device.format import number, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.confusion import ConfusionMatrix, confusion_cells, is_of
from edge_tl.host.reports.table import Column, Row, Table

_FIGURES = ("recall", "precision", "f1")


def bundle_class_table(record: BundleRecord) -> Table:
    """Recall, precision and F1 of each class in percent, of PyTorch and of the recommended artifact where its confusion
    matrix is known, and what the recall changed by; without rows where no matrix is."""
    columns = [Column("label", "class", False), Column("n", "images")]
    sides: list[tuple[str, ConfusionMatrix]] = []
    shipped = record.artifact(record.recommended) if record.recommended else None
    for name, matrix in (
        ("PyTorch", record.reference.confusion),
        (shipped.id if shipped else "", shipped.confusion if shipped else None),
    ):
        if matrix is not None and is_of(matrix, len(record.labels)):
            sides.append((one_line(name), matrix))
    if not sides:
        return Table(columns, [])
    rows: list[Row] = [{"label": one_line(label)} for label in record.labels]
    found = [_figures(matrix, len(record.labels)) for _, matrix in sides]
    for place, row in enumerate(rows):
        row["n"] = number(found[0][place]["n"], 0)
        for side, figures in enumerate(found):
            row |= {f"{key}{side}": number(figures[place][key], 2, 100) for key in _FIGURES}
        before, after = (each[place]["recall"] for each in (found[0], found[-1]))
        change = None if before is None or after is None else after - before
        row["change"] = f"{change * 100:+.2f}" if change else number(change)
    columns += [Column(f"recall{side}", f"recall %, {name}") for side, (name, _) in enumerate(sides)]
    columns += [Column("change", "change pp")] if len(sides) > 1 else []
    last = len(sides) - 1
    columns += [Column(f"{key}{last}", f"{word} %, {sides[last][0]}") for key, word in
                (("precision", "precision"), ("f1", "F1"))]  # fmt: skip
    return Table(columns, rows)


def _figures(matrix: ConfusionMatrix, classes: int) -> list[dict[str, float | None]]:
    images, answers, right = Counter[int](), Counter[int](), Counter[int]()
    for label, answer, count in confusion_cells(matrix):
        images[label] += count
        answers[answer] += count
        right[label] += count if label == answer else 0
    rows: list[dict[str, float | None]] = []
    for k in range(classes):
        either = images[k] + answers[k]
        rows.append(
            {
                "n": images[k],
                "recall": right[k] / images[k] if images[k] else None,
                "precision": right[k] / answers[k] if answers[k] else None,
                "f1": 2 * right[k] / either if images[k] and either else None,
            }
        )
    return rows
