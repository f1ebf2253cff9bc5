"""The timer: a callable in, nanoseconds out. Knows no model, no file and no accuracy.

Discards nothing but the warm-up.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]


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
