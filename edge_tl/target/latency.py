"""The timer: a callable in, timings out. It must not know a model, a file or an accuracy.

Nothing is discarded but the warm-up, and a percentile that the number of calls does not support is None.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from functools import cache
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]

CONFIDENCE = 0.99


def time_calls(
    call: Callable[[], object], *, warmup: int = 10, count: int = 100, seconds: float = math.inf
) -> Samples:
    """Call `call` `warmup` times unrecorded, then at most `count` times or for `seconds`, whichever ends first
    (at least once). Returns nanoseconds per call. The garbage collector is off meanwhile, as in `timeit`."""
    for _ in range(warmup):
        call()
    samples = np.empty(count, np.int64)
    collecting = gc.isenabled()
    gc.disable()
    try:
        deadline = perf_counter_ns() + (seconds * 1e9 if seconds < math.inf else math.inf)
        for i in range(count):
            start = perf_counter_ns()
            call()
            end = perf_counter_ns()
            samples[i] = end - start
            if end > deadline:
                samples = samples[: i + 1]
                break
    finally:
        if collecting:
            gc.enable()
    return samples


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


def summarize(samples: Samples) -> dict[str, Any]:
    """`{p50, p90, p95, p99, n}` in milliseconds; unsupported percentiles are None."""
    quantiles = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    return {name: percentile_ms(samples, q) for name, q in quantiles.items()} | {"n": len(samples)}


def speedup(baseline: Sequence[Samples], other: Sequence[Samples], *, seed: int = 0) -> dict[str, Any]:
    """How many times faster `other` is than `baseline`, from blocks timed in the same rounds.

    The estimate is the median over rounds of the ratio of block medians: a machine that is slow for a minute
    slows both sides of a round. The interval is the 95 % percentile bootstrap over rounds.
    """
    ratios = np.array(
        [np.median(a) / np.median(b) for a, b in zip(baseline, other, strict=True) if len(a) and len(b)]
    )
    if not len(ratios):
        return {"speedup": None, "speedup_ci": None}
    draws = np.random.default_rng(seed).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {
        "speedup": float(np.median(ratios)),
        "speedup_ci": [float(low), float(high)] if len(ratios) >= 3 else None,
    }
