"""Student's t: how many standard errors an estimate from few rounds needs."""

from __future__ import annotations

import math
from functools import cache


def t_cdf(t: float, freedom: int) -> float:
    """P(T <= t) for a whole number of degrees of freedom (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, term, total = math.cos(angle), 1.0, 0.0
    odd = freedom % 2
    for k in range(odd, freedom - 1, 2):
        term = (math.cos(angle) if odd else 1.0) if k == odd else term * cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 0.5 + (angle + math.sin(angle) * total) / math.pi
    return 0.5 + 0.5 * math.sin(angle) * total


@cache
def student_t(level: float, freedom: int) -> float:
    """The two-sided quantile: |T| <= it with a probability of `level`."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < (1 + level) / 2 else (low, middle)
    return high
