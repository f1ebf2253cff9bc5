"""Each class beside the same class: what PyTorch and an artifact find and get right, with intervals. Measures nothing.

The counts come from the confusion matrices; what changed on the same images from the list of changed answers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edge_tl.device import metrics
from edge_tl.device.format import DASH, number, one_line
from edge_tl.device.records.accuracy import Confusion, Interval
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.confusion import confusion_cells, is_of
from edge_tl.host.reports.table import Column, Table

EXPLANATION = (
    "Recall: images of this class that were found. Precision: answers of this class that are right. F1: their harmonic "
    "mean. In brackets 95 % intervals: Wilson's for recall and precision; for F1 Wilson's of the share of right ones "
    "among all images that are of this class or were taken for it, from which F1 follows. Change: recall on the same "
    "images, in percentage points, negative is worse; where its interval includes 0, so few images do not tell."
)


@dataclass(frozen=True)
class ClassCounts:
    """Of one class: the images of it, the answers of it, and those that are both."""

    n: int
    answers: int
    right: int

    @property
    def recall(self) -> tuple[float, Interval] | None:
        """A fraction and its interval; None without images."""
        return _share(self.right, self.n)

    @property
    def precision(self) -> tuple[float, Interval] | None:
        """A fraction and its interval; None where it is never answered."""
        return _share(self.right, self.answers)

    @property
    def f1(self) -> tuple[float, Interval] | None:
        """A fraction and its interval; None where there is neither an image nor an answer. F1 = 2 J / (1 + J) of
        Jaccard's J, a proportion of the images in either, and grows with it, so its interval does too."""
        jaccard = _share(self.right, self.n + self.answers - self.right)
        if jaccard is None:
            return None
        value, (low, high) = jaccard
        return _of_jaccard(value), (_of_jaccard(low), _of_jaccard(high))


def class_counts(matrix: Confusion, classes: int) -> list[ClassCounts]:
    """Of every class, from counts `[label][answer]`."""
    images, answers, right = Counter[int](), Counter[int](), Counter[int]()
    for label, answer, count in confusion_cells(matrix):
        images[label] += count
        answers[answer] += count
        right[label] += count if label == answer else 0
    return [ClassCounts(images[i], answers[i], right[i]) for i in range(classes)]


def class_comparison(record: BundleRecord) -> Table:
    """A row for each class of PyTorch, and of the recommended artifact (else the first INT8) where its matrix is known
    too. No rows where PyTorch's is not."""
    labels, matrix = record.labels, record.reference.confusion
    if matrix is None or not is_of(matrix, len(labels)):
        return Table((), [])
    artifact = compared_artifact(record)
    reference = class_counts(matrix, len(labels))
    own = class_counts(artifact.confusion, len(labels)) if artifact and artifact.confusion else []
    changes = _changes(artifact) if own and artifact else None
    rows = []
    for i, label in enumerate(labels):
        row = {"label": one_line(label), "n": number(reference[i].n, 0)}
        for side, counts in (("pytorch", reference), ("artifact", own)):
            if counts:
                each = {"recall": counts[i].recall, "precision": counts[i].precision, "f1": counts[i].f1}
                row |= {f"{name}_{side}": _text(value) for name, value in each.items()}
        if own:
            row["change"] = _change(
                reference[i], own[i], None if changes is None else changes.get(label, (0, 0))
            )
        rows.append(row)
    return Table(_columns(one_line(artifact.id) if own and artifact else None, changed=bool(own)), rows)


def compared_artifact(record: BundleRecord) -> ArtifactRecord | None:
    """Whose answers are put beside PyTorch's: the recommended artifact's, else the first INT8's, else the first's, of
    those whose matrix is known."""
    known = [
        each for each in record.artifacts if each.confusion and is_of(each.confusion, len(record.labels))
    ]
    known.sort(key=lambda each: (each.id != record.recommended, each.precision != "int8"))
    return known[0] if known else None


def _columns(artifact: str | None, *, changed: bool) -> list[Column]:
    names = [("recall", "recall %"), ("precision", "precision %"), ("f1", "F1 %")]
    found = [Column("label", "class", False), Column("n", "images")]
    if changed:
        found.append(Column("change", "recall change pp [interval]"))
    for key, heading in names:
        found.append(Column(f"{key}_pytorch", f"{heading}, PyTorch" if artifact else heading))
        if artifact:
            found.append(Column(f"{key}_artifact", f"{heading}, {artifact}"))
    return found


def _changes(artifact: ArtifactRecord) -> dict[str, tuple[int, int]] | None:
    """By label how many right answers were lost and won; None where the record does not list them."""
    if artifact.changed is None:
        return None
    lost, won = Counter[str](), Counter[str]()
    for one in artifact.changed:
        lost[one.label] += one.pytorch == one.label
        won[one.label] += one.device == one.label
    return {label: (lost[label], won[label]) for label in lost}


def _change(reference: ClassCounts, own: ClassCounts, moved: tuple[int, int] | None) -> str:
    """How much more of the class is found, in percentage points; with its interval where the answers that changed
    explain it."""
    if not reference.n or own.n != reference.n:
        return DASH
    if moved is None or moved[1] - moved[0] != own.right - reference.right:
        return f"{100 * (own.right - reference.right) / reference.n:+.2f}"
    found = metrics.drop_of_counts(*moved, reference.n)
    low, high = (-end for end in reversed(found.drop_ci_pp))
    return f"{0.0 - found.drop_pp:+.2f} [{number(low)}, {number(high)}]"


def _share(right: int, n: int) -> tuple[float, Interval] | None:
    return (right / n, metrics.wilson_interval(right, n)) if n else None


def _of_jaccard(value: float) -> float:
    return 2 * value / (1 + value)


def _text(value: tuple[float, Interval] | None) -> str:
    if value is None:
        return DASH
    share, (low, high) = value
    return f"{number(share, 1, 100)} [{number(low, 1, 100)}, {number(high, 1, 100)}]"
