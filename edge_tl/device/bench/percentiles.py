"""Percentiles of latencies and what they are worth: counts that support them, intervals. Times nothing.

No sample is removed, however far out it lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bench.student_t import student_t
from edge_tl.device.bench.timer import Samples
from edge_tl.device.records.timing import LatencyRecord, OpenInterval

CONFIDENCE = 0.99  # of MLPerf's early stopping
LEVEL = 0.95  # of every interval
NORMAL = 1.959964  # standard errors either side that hold 95 % where the error is known
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@cache
def count_needed(quantile: float) -> int:
    """The fewest calls that support a percentile: with that many, seeing at most one call above the true
    quantile has a probability of 1 % or less (MLPerf Inference's early stopping: 64 for p90, 662 for p99,
    6,636 for p99.9)."""
    n, above = 2, 1 - quantile
    while quantile**n + n * above * quantile ** (n - 1) > 1 - CONFIDENCE:
        n += 1
    return n


def percentile_ms(samples: Samples, quantile: float) -> float | None:
    """The nearest-rank percentile in milliseconds, or None where the count does not support it."""
    if len(samples) < count_needed(quantile):
        return None
    return float(np.quantile(samples, quantile, method="inverted_cdf")) / 1e6


def summarize(samples: Samples, rounds: Sequence[int] | NDArray[np.intp] | None = None) -> LatencyRecord:
    """The percentiles that the count supports, and the interval of each.

    `rounds` names the round of each sample (same length); see `interval_ms`.
    """
    ms = {name: percentile_ms(samples, q) for name, q in QUANTILES.items()}
    ends = {
        name: interval_ms(samples, q, rounds) if ms[name] is not None else None
        for name, q in QUANTILES.items()
    }
    return LatencyRecord(
        p50=ms["p50"],
        p90=ms["p90"],
        p95=ms["p95"],
        p99=ms["p99"],
        n=len(samples),
        p50_ci=ends["p50"],
        p90_ci=ends["p90"],
        p95_ci=ends["p95"],
        p99_ci=ends["p99"],
    )


def interval_ms(
    samples: Samples, quantile: float, rounds: Sequence[int] | NDArray[np.intp] | None = None
) -> OpenInterval:
    """The 95 % interval of a percentile from order statistics, low and high in milliseconds.

    For independent calls it is the exact binomial interval (David and Nagaraja, Order Statistics, 2003, 7.1).
    Calls of one process are not independent: their number is divided by the design effect between `rounds` first,
    and by what it costs to have estimated that from few rounds (Woodruff, JASA 47, 1952; Korn and Graubard, Survey
    Methodology 24, 1998). Then a rank among so many stands for the middle of its share of all calls, counted from
    below for the lower end and from above for the upper, so that neither is wider. An end that so few calls cannot
    bound is None.
    """
    ordered = np.sort(samples)
    count = len(ordered)
    worth = max(1, int(count / design_effect(samples, quantile, rounds)))
    low, high = ranks(worth, quantile)

    def inward(rank: int) -> int:
        """How many of all calls lie at or beyond it: `rank` itself where every call is worth one."""
        return -(-(2 * rank - 1) * count // (2 * worth))

    return (
        None if low < 1 else float(ordered[inward(low) - 1]) / 1e6,
        None if high > worth else float(ordered[-inward(worth + 1 - high)]) / 1e6,
    )


@cache
def ranks(count: int, quantile: float) -> tuple[int, int]:
    """Ranks (from 1) of the two order statistics that bracket the quantile with a probability of 95 % or more, each
    tail at most 2.5 %. 0 and `count + 1` stand for "none": the tail is then unbounded."""
    successes = np.arange(count + 1)
    log = np.array([math.lgamma(k + 1) for k in successes])
    pmf = np.exp(
        log[-1]
        - log
        - log[::-1]
        + successes * math.log(quantile)
        + (count - successes) * math.log1p(-quantile)
    )
    cdf = np.cumsum(pmf)
    tail = (1 - LEVEL) / 2
    # The r-th smallest lies above the quantile if fewer than r calls lie at or below it.
    low = int(np.searchsorted(cdf, tail, side="right"))
    high = int(np.searchsorted(cdf, 1 - tail)) + 1
    return low, high


def design_effect(
    samples: Samples, quantile: float, rounds: Sequence[int] | NDArray[np.intp] | None = None
) -> float:
    """How many calls are worth one independent call: the variance between rounds of the share of calls at or below
    the quantile, over what it would be if calls were independent, times (t / 1.96)^2 for the number of rounds. At
    least 1, and 1 with fewer than three rounds, which cannot show any."""
    if rounds is None:
        return 1.0
    names, member = np.unique(np.asarray(rounds), return_inverse=True)
    if len(names) < 3:
        return 1.0
    below = samples <= np.quantile(samples, quantile, method="inverted_cdf")
    sizes = np.bincount(member)
    shares = np.bincount(member, weights=below) / sizes
    share = float(below.mean())
    if not 0 < share < 1:
        return 1.0
    between = float(np.sum(sizes * (shares - share) ** 2)) / (len(names) - 1)
    few = (student_t(LEVEL, len(names) - 1) / NORMAL) ** 2
    return few * max(1.0, between / (share * (1 - share)))
