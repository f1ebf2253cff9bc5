"""Arrays in, numbers out: how far two sets of logits are apart, and whether the difference means anything.

Knows no file, runtime or time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.records.accuracy import Confusion, SparseConfusion

Ints = NDArray[np.integer[Any]]

_WHOLE = 50


def max_abs_diff(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Largest absolute difference; `inf` where either holds a NaN or an infinity, which no tolerance may pass."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    return float(np.abs(a.astype(np.float64) - b).max(initial=0.0))


def not_numbers(logits: NDArray[np.float32]) -> int:
    """How many of the rows `(n, classes)` hold a NaN or an infinity: no answer can be read from them."""
    return int((~np.isfinite(logits)).any(axis=1).sum())


def top1(logits: NDArray[np.float32]) -> Ints:
    """`(n, classes)` to the `(n,)` class indices with the largest logit."""
    result: Ints = logits.argmax(axis=1)
    return result


def accuracy(labels: Ints, answers: Ints) -> float:
    """Fraction of `answers` equal to `labels`."""
    return float(np.mean(labels == answers))


def agreement(a: Ints, b: Ints) -> float:
    """Fraction of images on which two models give the same answer, right or wrong."""
    return float(np.mean(a == b))


@dataclass(frozen=True)
class PairedDrop:
    """Accuracy lost on the same images in percentage points, positive = worse, with its 95 % interval; on how many
    images a right answer was lost and won, and the p-value of McNemar's test."""

    drop_pp: float
    drop_ci_pp: tuple[float, float]
    lost: int
    won: int
    mcnemar_p: float

    def fields(self) -> dict[str, Any]:
        """By the names that records give them."""
        return dict(vars(self))


def paired_drop(labels: Ints, reference: Ints, device: Ints) -> PairedDrop:
    """The accuracy lost from `reference` to `device`; see `drop_of_counts`."""
    lost = int(np.sum((reference == labels) & (device != labels)))
    won = int(np.sum((reference != labels) & (device == labels)))
    return drop_of_counts(lost, won, len(labels))


def drop_of_counts(lost: int, won: int, n: int) -> PairedDrop:
    """The accuracy lost where a right answer was lost on so many of `n` images and won on so many others.

    The interval is the 95 % adjusted Wald interval for a paired difference of proportions (Bonett and Price,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data", 2012);
    the p-value that of the exact two-sided McNemar test (binomial on the images whose correctness changed).
    """
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    half = 1.959964 * math.sqrt((p_lost + p_won - (p_lost - p_won) ** 2) / (n + 2))
    low, high = max(p_lost - p_won - half, -1.0), min(p_lost - p_won + half, 1.0)
    p_value = _binomial_two_sided(min(lost, won), lost + won)
    return PairedDrop(100 * (lost - won) / n, (100 * low, 100 * high), lost, won, p_value)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of `right` in `n`, at least 1 (Wilson, "Probable Inference, the Law of
    Succession, and Statistical Inference", 1927)."""
    share, z2 = right / n, 1.959963984540054**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * share * (1 - share) / n + (z2 / (2 * n)) ** 2) / (1 + z2 / n)
    # Not left to rounding: of none the lower end is 0, of all the upper is 1.
    return (middle - half if right else 0.0, middle + half if right < n else 1.0)


def _binomial_two_sided(k: int, n: int) -> float:
    """P of a split at least as uneven as `k` of `n` when either side is equally likely."""
    # In logarithms: 2**n overflows a float from 1,024 changed answers on.
    terms = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    )
    return min(1.0, 2.0 * math.fsum(math.exp(term) for term in terms))


def divergence(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Mean Kullback-Leibler divergence, in nats, of the answers behind logits `got` from those behind `expected`."""
    p, q = softmax(expected), softmax(got)
    tiny = np.finfo(np.float64).tiny
    return float(np.mean(np.sum(p * (np.log(p + tiny) - np.log(q + tiny)), axis=-1)))


@dataclass(frozen=True)
class ExpectedDrop:
    """Percentage points, and the 95 % interval of their mean over images."""

    drop_pp: float
    drop_ci_pp: tuple[float, float]


def expected_drop(reference: NDArray[np.float32], answers: Ints) -> ExpectedDrop:
    """Accuracy that giving `answers` instead of the reference's is expected to lose if the probabilities behind the
    reference's logits `(n, classes)` are true.

    The mean of how much more probable the reference's answer is. An image whose answer changed counts by how clear it
    was, not by the toss of its label, so this varies several times less over images than the drop that is counted.
    """
    p = softmax(reference)
    each = np.arange(len(p))
    lost = 100 * (p[each, top1(reference)] - p[each, answers])
    mean, half = float(np.mean(lost)), 1.959964 * float(np.std(lost)) / math.sqrt(len(lost))
    return ExpectedDrop(mean, (mean - half, mean + half))


def confusion(labels: Ints, answers: Ints, classes: int) -> list[list[int]]:
    """Counts `[label][answer]`, `classes` by `classes`."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, answers), 1)
    rows: list[list[int]] = matrix.tolist()
    return rows


def compact(matrix: list[list[int]]) -> Confusion:
    """A confusion matrix as records hold it: whole up to 50 classes; beyond, where nearly all of it is zeros, its other
    cells."""
    if len(matrix) <= _WHOLE:
        return tuple(tuple(row) for row in matrix)
    cells = ((i, j, n) for i, row in enumerate(matrix) for j, n in enumerate(row) if n)
    return SparseConfusion(len(matrix), tuple(cells))


def images_of_classes(confusion: Confusion) -> list[int]:
    """How many images each class has."""
    if not isinstance(confusion, SparseConfusion):
        return [sum(row) for row in confusion]
    counts = [0] * confusion.classes
    for label, _, count in confusion.cells:
        counts[label] += count
    return counts


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities along the last axis, in float64, computed from the largest logit down so that none overflows."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponent = np.exp(shifted)
    result: NDArray[np.float64] = exponent / exponent.sum(axis=-1, keepdims=True)
    return result
