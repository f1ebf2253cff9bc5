"""Which trials are worth having: the front, the pick under a budget, the nearest miss, and what is only noise.

Pure arithmetic: knows no model, reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_tl.device.records.codec import Record, written

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Point:
    """A trial: `right` of `n` images, and milliseconds per image, or None where they could not be measured."""

    name: str
    right: int
    n: int
    latency: float | None = None

    @property
    def accuracy(self) -> float:
        """A fraction in [0, 1]."""
        return self.right / self.n

    @property
    def time(self) -> float:
        """The latency; what was not measured counts as slower than everything."""
        return math.inf if self.latency is None else self.latency


@dataclass(frozen=True)
class Budget(Record):
    """What the pick must keep: milliseconds per image (median) and a fraction of right answers; None for any."""

    max_latency_ms: float | None = written(None)
    min_accuracy: float | None = written(None)

    def fast(self, point: Point) -> bool:
        """Whether the point is measured and fast enough."""
        return self.max_latency_ms is None or point.time <= self.max_latency_ms

    def accurate(self, point: Point) -> bool:
        """Whether the point is accurate enough."""
        return self.min_accuracy is None or point.accuracy >= self.min_accuracy


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The measured points that no other beats: none is at least as accurate and as fast, and better in one of both.

    Fastest first. Points with equal figures are all on it, or none is.
    """
    measured = sorted((p for p in points if p.latency is not None), key=lambda p: (p.time, -p.accuracy))
    kept: list[Point] = []
    for point in measured:
        best = kept[-1] if kept else None
        if best is None or point.accuracy > best.accuracy or (point.accuracy, point.time) == _figures(best):
            kept.append(point)
    return kept


def pick(points: Sequence[Point], budget: Budget) -> Point | None:
    """The most accurate point within the budget; of equally accurate ones the fastest, then the first."""
    return max(_within(points, budget), key=_rank, default=None)


def runner_up(points: Sequence[Point], budget: Budget) -> Point | None:
    """What would be picked if the pick were not there."""
    best = pick(points, budget)
    return pick([p for p in points if p is not best], budget)


def nearest(points: Sequence[Point], budget: Budget) -> tuple[Point | None, Point | None]:
    """What misses the budget least on either side: of those accurate enough the fastest, and of those fast enough the
    most accurate. None where nothing is accurate enough, or fast enough; meant for when nothing is both."""
    accurate = [p for p in points if budget.accurate(p) and p.latency is not None]
    fast = [p for p in points if budget.fast(p)]
    return (
        min(accurate, key=lambda p: (p.time, -p.accuracy), default=None),
        max(fast, key=_rank, default=None),
    )


def as_good_and_faster(points: Sequence[Point], best: Point) -> Point | None:
    """The fastest point that is faster than `best` and not significantly less accurate; None if there is none."""
    rivals = [p for p in points if p.time < best.time and p_value(p, best) >= SIGNIFICANT]
    return min(rivals, key=lambda p: (p.time, -p.accuracy), default=None)


def p_value(a: Point, b: Point) -> float:
    """Fisher's exact test, two-sided, that both answer equally well.

    It takes the images of both as drawn independently. They are the same, so a paired test could see smaller
    differences; this one errs towards "no difference shown".
    """
    from scipy.stats import fisher_exact

    table = [[a.right, a.n - a.right], [b.right, b.n - b.right]]
    return float(fisher_exact(table).pvalue)


def _within(points: Sequence[Point], budget: Budget) -> list[Point]:
    return [p for p in points if budget.fast(p) and budget.accurate(p)]


def _rank(point: Point) -> tuple[float, float]:
    return point.accuracy, -point.time


def _figures(point: Point) -> tuple[float, float]:
    return point.accuracy, point.time
