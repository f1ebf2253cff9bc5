"""How many times faster one thing is than another, and whether that differs from 1. Times nothing.

Rounds are what repeats: a process has its own luck (addresses, pages, threads), which all its blocks share, so an
interval over blocks alone is too narrow. `tests/device/bench/test_ratio.py` checks the coverage by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bench.percentiles import LEVEL
from edge_tl.device.bench.student_t import student_t
from edge_tl.device.bench.timer import Samples
from edge_tl.device.records.bench import SpeedupRecord

DRAWS = 2000
LEAST_ROUNDS = 3
Floats = NDArray[np.float64]


def speedup(
    baseline: Sequence[Samples],
    other: Sequence[Samples],
    rounds: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> SpeedupRecord:
    """How many times faster `other` is, from blocks timed side by side.

    The estimate is the median over block pairs of the ratio of block medians: a machine that is slow for a while
    slows both sides of a pair (Bulej et al., "Duet benchmarking", ICPE 2020). The 95 % interval is a block bootstrap
    that draws whole rounds (`rounds` names the round of each block; left out, each is its own), whose standard error
    is widened by Student's t, because a percentile bootstrap of few rounds covers 85 %, not 95. Fewer than three
    rounds have no interval. `distinguishable` is whether the interval leaves 1 out; None without one.
    """
    pairs = list(zip(baseline, other, strict=True))
    names = list(range(len(pairs))) if rounds is None else list(rounds)
    logs: dict[int, list[float]] = {}
    for name, (a, b) in zip(names, pairs, strict=True):
        if len(a) and len(b):
            logs.setdefault(name, []).append(math.log(float(np.median(a)) / float(np.median(b))))
    if not logs:
        return SpeedupRecord()
    groups = [np.array(group) for group in logs.values()]
    middle = float(np.median(np.concatenate(groups)))
    error = standard_error(groups, seed)
    return _with_interval(middle, error, len(groups) - 1)


def difference_ms(
    baseline: Sequence[Samples], other: Sequence[Samples], rounds: Sequence[int], *, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """How many milliseconds more a call of `other` takes, and its 95 % interval: as `speedup`, of differences and not
    of ratios; None where the rounds are too few."""
    groups: dict[int, list[float]] = {}
    for name, a, b in zip(rounds, baseline, other, strict=True):
        groups.setdefault(name, []).append(float(np.median(b) - np.median(a)) / 1e6)
    found = [np.array(group) for group in groups.values()]
    middle, error = float(np.median(np.concatenate(found))), standard_error(found, seed)
    if math.isnan(error):
        return middle, None
    half = student_t(LEVEL, len(found) - 1) * error
    return middle, (middle - half, middle + half)


def against_itself(
    blocks: Sequence[Samples], rounds: Sequence[int], *, seed: int = 0
) -> tuple[float, float] | None:
    """An A/A interval from blocks that were timed anyway: as `speedup`, of every second block of a round against the
    one before it. None where rounds or their blocks are too few.

    It knows how unsteady the machine was, not the luck of a process, which both blocks of a pair share.
    """
    pairs = [i for i in range(len(blocks) - 1) if rounds[i] == rounds[i + 1]]
    chosen: list[int] = []
    for i in pairs:
        if not chosen or i > chosen[-1] + 1:
            chosen.append(i)
    names = [rounds[i] for i in chosen]
    return speedup([blocks[i] for i in chosen], [blocks[i + 1] for i in chosen], names, seed=seed).speedup_ci


def unpaired(baseline: Sequence[Sequence[Samples]], other: Sequence[Sequence[Samples]]) -> SpeedupRecord:
    """As `speedup`, for two runs at different times: rounds of blocks each, nothing shared.

    Medians of each round, on a log scale; Welch's interval (Biometrika 34, 1947). It knows the noise within each run;
    what changed on the machine between the runs is in the ratio. A round without a call is none.
    """
    sides = [
        np.log([float(np.median(np.concatenate(list(blocks)))) for blocks in side if any(map(len, blocks))])
        for side in (baseline, other)
    ]
    if not all(len(side) for side in sides):
        return SpeedupRecord()
    middle = float(np.median(sides[0]) - np.median(sides[1]))
    if min(len(side) for side in sides) < LEAST_ROUNDS:
        return SpeedupRecord(speedup=math.exp(middle))
    variances = [standard_error([np.array([v]) for v in side], 0) ** 2 for side in sides]
    total = sum(variances)
    freedom = len(sides[0]) + len(sides[1]) - 2
    if total:
        freedom = int(total**2 / sum(v**2 / (len(s) - 1) for v, s in zip(variances, sides, strict=True)))
    return _with_interval(middle, math.sqrt(total), max(freedom, 1))


def standard_error(groups: Sequence[Floats], seed: int) -> float:
    """Of the median of all values, drawing whole groups (cluster bootstrap; Davison and Hinkley, 1997, 3.8)."""
    count = len(groups)
    if count < LEAST_ROUNDS:
        return math.nan
    rng = np.random.default_rng(seed)
    if len({len(group) for group in groups}) == 1:
        drawn = np.stack(groups)[rng.integers(0, count, (DRAWS, count))].reshape(DRAWS, -1)
        medians = np.median(drawn, axis=1)
    else:
        picks = rng.integers(0, count, (DRAWS, count))
        medians = np.array([np.median(np.concatenate([groups[i] for i in pick])) for pick in picks])
    return float(medians.std()) * math.sqrt(count / (count - 1))


def _with_interval(middle: float, error: float, freedom: int) -> SpeedupRecord:
    """The ratio whose logarithm is `middle`; without an interval where the standard error is not known."""
    if math.isnan(error):
        return SpeedupRecord(speedup=math.exp(middle))
    half = student_t(LEVEL, freedom) * error
    low, high = math.exp(middle - half), math.exp(middle + half)
    return SpeedupRecord(
        speedup=math.exp(middle), speedup_ci=(low, high), distinguishable=not low <= 1 <= high
    )
