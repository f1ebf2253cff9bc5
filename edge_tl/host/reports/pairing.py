"""Two bundles or two runs compared: by the same images where both records have every answer, by their own intervals
where not. Measures nothing, and says why where two figures say nothing of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.ratio import unpaired
from edge_tl.device.bench.results import Measurement, measurements, same_machine
from edge_tl.device.errors import BadInput
from edge_tl.device.metrics import images_of_classes, paired_drop, wilson_interval
from edge_tl.device.records.accuracy import Confusion, Interval
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.pair_record import DifferenceRecord, PairRecord, Side
from edge_tl.host.reports.pair_sentence import pair_sentence
from edge_tl.host.runs.record import RunRecord

PYTORCH = "PyTorch"
_UNPAIRED = (
    "not image by image: a record has no list of every answer, so the interval is wider than it need be"
)


def compare_bundles(a: BundleRecord, b: BundleRecord) -> PairRecord:
    """Raises `BadInput` where they answer different classes."""
    _check_labels(a.labels, b.labels)
    shared = [artifact.id for artifact in a.artifacts if artifact.id in {each.id for each in b.artifacts}]
    pairs = [(name, name) for name in shared]
    if a.recommended and b.recommended:
        chosen = (a.recommended, b.recommended)
        pairs = [chosen, *(pair for pair in pairs if pair != chosen)]
    found = [
        each for pair in pairs for each in (_accuracy(a, b, pair), _latency(a, b, pair), _size(a, b, pair))
    ]
    found.append(_accuracy(a, b, (PYTORCH, PYTORCH)))
    return _pair("bundles", a.name, b.name, found)


def compare_runs(a: RunRecord, b: RunRecord) -> PairRecord:
    """Raises `BadInput` where they answer different classes."""
    _check_labels(a.labels, b.labels)
    x, y = a.metrics, b.metrics
    why = None if _evaluated(a) == _evaluated(b) else "evaluated on other images"
    bare = DifferenceRecord(figure="accuracy", of=(a.model, b.model), a=x.accuracy, b=y.accuracy)
    if why is None:
        found = independent_difference(round(x.accuracy * x.n), x.n, round(y.accuracy * y.n), y.n)
        difference = replace(
            bare, difference=found[0], difference_ci=found[1], n=x.n, better=_better(found[1]),
            why="the same images, but not image by image: runs list no answers, so the interval is wide",
        )  # fmt: skip
    else:
        difference = replace(bare, why=why)
    return _pair("runs", a.name, b.name, [difference])


def _evaluated(record: RunRecord) -> set[tuple[str, str]]:
    """The images that a run was evaluated on, by hash and class."""
    dataset = record.dataset()
    samples = (sample for sample in dataset.samples if sample.split == record.metrics.split)
    return {(sample.digest, dataset.labels[sample.label]) for sample in samples}


def _pair(kind: Literal["bundles", "runs"], a: str, b: str, found: Sequence[DifferenceRecord]) -> PairRecord:
    first = [each for each in found if each.of == found[0].of]
    return PairRecord(kind=kind, a=a, b=b, sentence=pair_sentence(a, b, first), differences=tuple(found))


def _check_labels(a: Sequence[str], b: Sequence[str]) -> None:
    if set(a) != set(b):
        lone = sorted(set(a) ^ set(b))[0]
        raise BadInput(
            f"these two answer different classes: {lone!r} is in one alone, so their accuracies say nothing of each "
            "other. Give two models of the same classes."
        )


def _accuracy(a: BundleRecord, b: BundleRecord, of: tuple[str, str]) -> DifferenceRecord:
    accuracies = [_sides_accuracy(record, name) for record, name in zip((a, b), of, strict=True)]
    bare = DifferenceRecord(figure="accuracy", of=of, a=accuracies[0], b=accuracies[1])
    columns = _answers(a, of[0]), _answers(b, of[1])
    if columns[0] is not None and columns[1] is not None:
        common = [key for key in columns[0] if key in columns[1]]
        if not common:
            return replace(bare, why="evaluated on other images")
        labels = np.array([b.labels.index(label) for _, label in common])
        place = {label: i for i, label in enumerate(b.labels)}
        answers = [
            np.array([place[column[key]] for key in common]) for column in columns if column is not None
        ]
        drop = paired_drop(labels, answers[0], answers[1])
        ends = (-drop.drop_ci_pp[1], -drop.drop_ci_pp[0])
        lesser = min(len(column) for column in columns if column is not None)
        some = None if len(common) == lesser else f"on the {len(common)} images that both were evaluated on"
        return replace(
            bare, difference=0.0 - drop.drop_pp, difference_ci=ends, paired=True, n=len(common),
            better=_better(ends), why=some,
        )  # fmt: skip
    n, m = a.reference.n, b.reference.n
    if None in accuracies or not n or not m:
        return replace(bare, why="not measured")
    if not _same_counts(a, b):
        return replace(bare, why="evaluated on other images")
    right = [round((value or 0) * count) for value, count in zip(accuracies, (n, m), strict=True)]
    difference, ends = independent_difference(right[0], n, right[1], m)
    return replace(bare, difference=difference, difference_ci=ends, n=n, better=_better(ends), why=_UNPAIRED)


def _sides_accuracy(record: BundleRecord, name: str) -> float | None:
    return record.reference.accuracy if name == PYTORCH else record.artifact(name).accuracy


def _answers(record: BundleRecord, name: str) -> dict[tuple[str, str], str] | None:
    """The answer to each image, by its hash and true class; None where the record has none of them."""
    found, labels = record.answers, record.labels
    column = None if found is None else found.pytorch if name == PYTORCH else found.artifacts.get(name)
    if found is None or column is None or max((*found.labels, *column), default=0) >= len(labels):
        return None
    rows = zip(found.images, found.labels, column, strict=True)
    return {(digest, labels[label]): labels[answer] for digest, label, answer in rows}


def _same_counts(a: BundleRecord, b: BundleRecord) -> bool:
    """Whether as many images of each class were evaluated, as far as is known: then they may be the same."""

    def counts(matrix: Confusion | None, labels: Sequence[str]) -> dict[str, int]:
        return {} if matrix is None else dict(zip(labels, images_of_classes(matrix), strict=False))

    return (a.reference.n, a.reference.split, counts(a.reference.confusion, a.labels)) == (
        b.reference.n, b.reference.split, counts(b.reference.confusion, b.labels),
    )  # fmt: skip


def independent_difference(right: int, n: int, other: int, m: int) -> tuple[float, Interval]:
    """The second share minus the first in percentage points, and Newcombe's hybrid score interval (Statistics in
    Medicine 17, 1998, method 10), which takes the images as drawn independently."""
    p, q = right / n, other / m
    (low, high), (least, most) = wilson_interval(right, n), wilson_interval(other, m)
    down, up = math.hypot(q - least, high - p), math.hypot(most - q, p - low)
    return 100 * (q - p), (100 * (q - p - down), 100 * (q - p + up))


def _better(ends: Interval | None, *, even: float = 0.0) -> Side | None:
    if ends is None or ends[0] <= even <= ends[1]:
        return None
    return "b" if ends[0] > even else "a"


def _latency(a: BundleRecord, b: BundleRecord, of: tuple[str, str]) -> DifferenceRecord:
    first, second = _timed(a, of[0]), _timed(b, of[1])
    medians = [record.artifact(name).median_ms for record, name in zip((a, b), of, strict=True)]
    bare = DifferenceRecord(figure="latency", of=of, a=medians[0], b=medians[1])
    if first is None or second is None:
        return replace(bare, why="not timed, or the record has no single calls")
    (mine, result), (other, another) = first, second
    if not same_machine(result.machine, another.machine):
        return replace(bare, why="timed on another machine")
    for name, each in ((a.name, result), (b.name, another)):
        cores = each.machine.cores_allowed
        if busy := busy_reason(each.conditions, cores, subject="its machine was"):
            return replace(bare, why=f"when {name} was timed, {busy}")
    if mine.ran.threads != other.ran.threads:
        return replace(bare, why=f"timed with {mine.ran.threads} and {other.ran.threads} threads")
    ratio = unpaired(mine.rounds, other.rounds)
    return replace(
        bare, difference=ratio.speedup, difference_ci=ratio.speedup_ci,
        better=_better(ratio.speedup_ci, even=1.0), why="timed at different times on this machine",
    )  # fmt: skip


def _timed(record: BundleRecord, name: str) -> tuple[Measurement, BenchResult] | None:
    if record.bench is None:
        return None
    result = BenchResult.from_json(record.bench, "bench", newer_keys=True)
    found = [each for each in measurements(result) if (each.artifact, each.key) == (name, "latency")]
    return (found[0], result) if found else None


def _size(a: BundleRecord, b: BundleRecord, of: tuple[str, str]) -> DifferenceRecord:
    x, y = a.artifact(of[0]).size_mb, b.artifact(of[1]).size_mb
    ratio = x / y if y else None
    # A few bytes of names in a file are no difference.
    better: Side | None = None if ratio is None or abs(ratio - 1) < 0.005 else "b" if ratio > 1 else "a"
    return DifferenceRecord(figure="size", of=of, a=x, b=y, difference=ratio, better=better)
