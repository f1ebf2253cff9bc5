"""Whether latencies had settled: a label, never a reason to measure longer or to drop a sample.

A trend is looked for twice: along the calls of a process (warm-up that was not over) and along the blocks of the
whole run (a machine that heats up, or gets busier). "Not steady" needs both significance and size, because among
thousands of calls every trend is significant. What a trend test cannot see is a latency that rises and falls again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bench.percentiles import LEVEL
from edge_tl.device.bench.student_t import student_t
from edge_tl.device.bench.timer import Samples
from edge_tl.device.records.bench import DriftRecord, TrendRecord
from edge_tl.device.records.paced import ChangeRecord

SIGNIFICANT = 0.01
CHANGE = 0.02  # of the median, over the whole length: below it a trend does not matter
POINTS = 100  # along a process: calls of the same age are pooled into at most so many points
LEAST = 8  # points; fewer cannot be significant
WINDOWS = 5  # of which the last is held against the first; the spread of fewer is not known


def drift_of(blocks: Sequence[Samples], rounds: Sequence[int]) -> DriftRecord:
    """Whether latencies had settled, from blocks in the order they were timed; `rounds` names the process of each.
    `steady` is None where neither trend has enough points.

    Why a test: many processes never reach a steady state however long they warm up (Barrett et al., "Virtual
    machine warmup blows hot and cold", OOPSLA 2017).
    """
    within = trend(_ages(blocks, rounds))
    across = trend(np.array([float(np.median(block)) for block in blocks if len(block)]))
    known = [found for found in (within, across) if found]
    moved = [found for found in known if found.p < SIGNIFICANT and abs(found.change) > CHANGE]
    return DriftRecord(steady=not moved if known else None, within_process=within, across_run=across)


def trend(values: NDArray[np.float64]) -> TrendRecord | None:
    """The Theil-Sen change of a series and the p-value of the Mann-Kendall test; None below 8 points.

    Mann-Kendall with the variance corrected for ties (Kendall, 1975) and for autocorrelation of the detrended ranks
    (Hamed and Rao, J. Hydrology 204, 1998); the slope is Theil and Sen's (Sen, JASA 63, 1968).
    """
    n = len(values)
    if n < LEAST:
        return None
    i, j = np.triu_indices(n, 1)
    difference = values[j] - values[i]
    score = float(np.sign(difference).sum())
    slope = float(np.median(difference / (j - i)))
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    variance *= _correction(values - slope * np.arange(n))
    z = (score - math.copysign(1, score)) / math.sqrt(variance) if score and variance > 0 else 0.0
    middle = float(np.median(values))
    change = slope * (n - 1) / middle if middle else 0.0
    return TrendRecord(change=change, p=math.erfc(abs(z) / math.sqrt(2)))


def last_by_first(medians: NDArray[np.float64]) -> ChangeRecord:
    """How many times the last window of a run is the first, from the median
    latencies of windows of one length in the order of time (NaN: no call).

    The 95 % interval asks how much such windows differ by chance: their scatter about a straight line, on a log
    scale, for the difference of two, with Student's t (batch means: Law, Simulation Modeling and Analysis, 9.5.3).
    Noise may last for seconds, and calls or tenths of a window are then far from independent; whole windows nearly
    are. What lasts for longer than a window (a jump in the middle of the run, too) counts as noise in part and
    widens the interval. Below five windows it is None, and `change_reason` says so.
    """
    with np.errstate(invalid="ignore"):
        logs = np.log(medians)
    middle = float(logs[-1] - logs[0])
    if math.isnan(middle):
        reason = "no call was due in the first or in the last window"
        return ChangeRecord(change_reason=reason)
    at = np.flatnonzero(np.isfinite(logs))
    if len(at) < WINDOWS:
        reason = f"{len(at)} windows are too few to know how much two differ by chance: {WINDOWS} are needed"
        return ChangeRecord(change=math.exp(middle), change_reason=reason)
    slope, start = np.polyfit(at, logs[at], 1)
    freedom = len(at) - 2
    variance = float(((logs[at] - start - slope * at) ** 2).sum()) / freedom
    half = student_t(LEVEL, freedom) * math.sqrt(2 * variance)
    ends = (math.exp(middle - half), math.exp(middle + half))
    return ChangeRecord(change=math.exp(middle), change_ci=ends)


def _correction(detrended: NDArray[np.float64]) -> float:
    """Hamed and Rao's factor for the variance, from the significant autocorrelations of the ranks; at least 1, so
    that alternating values never make a trend look surer."""
    n = len(detrended)
    ranks = detrended.argsort().argsort() - (n - 1) / 2
    total = float((ranks**2).sum())
    factor = 0.0
    for lag in range(1, n // 4 + 1):
        rho = float((ranks[:-lag] * ranks[lag:]).sum()) / total
        if abs(rho) > 1.96 / math.sqrt(n):
            factor += (n - lag) * (n - lag - 1) * (n - lag - 2) * rho
    return max(1.0, 1 + 2 * factor / (n * (n - 1) * (n - 2)))


def _ages(blocks: Sequence[Samples], rounds: Sequence[int]) -> NDArray[np.float64]:
    """The life of a process: for each age, the median over rounds of the calls of that age, each relative to its
    round's median. Disturbances from outside hit the rounds at different ages; warm-up hits all at the same."""
    lives: dict[int, list[Samples]] = {}
    for block, name in zip(blocks, rounds, strict=True):
        if not len(block):
            continue
        lives.setdefault(name, []).append(block)
    whole = [np.concatenate(parts).astype(np.float64) for parts in lives.values()]
    length = min((len(life) for life in whole), default=0)
    if not length:
        return np.empty(0)
    stacked = np.stack([life[:length] / np.median(life) for life in whole])
    groups = np.array_split(np.arange(length), min(POINTS, length))
    return np.array([float(np.median(stacked[:, group])) for group in groups])
