"""Percentiles and intervals of latencies as people read them."""

from __future__ import annotations

from edge_tl.cli._console import milliseconds
from edge_tl.device.format import DASH
from edge_tl.device.records.timing import Interval, LatencyRecord

UNKNOWN = "[unknown]"


def percentiles(ms: LatencyRecord) -> list[str]:
    """p50, p90 and p99."""
    return [milliseconds(ms.p50), milliseconds(ms.p90), milliseconds(ms.p99)]


def p50_with_interval(ms: LatencyRecord) -> str:
    """The median with its interval; an end that cannot be bounded is a dash."""
    if ms.p50 is None:
        return DASH
    if ms.p50_ci is None:
        return milliseconds(ms.p50)
    if ms.p50_ci == (None, None):
        return f"{milliseconds(ms.p50)} {UNKNOWN}"
    return f"{milliseconds(ms.p50)} [{milliseconds(ms.p50_ci[0])}, {milliseconds(ms.p50_ci[1])}]"


def in_brackets(ends: Interval | None, digits: int = 2) -> str:
    """An interval behind its estimate; nothing where there is none."""
    return "" if not ends else f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def ratio(value: float | None, ends: Interval | None, digits: int = 2) -> str:
    """A ratio with its interval; a dash where it is not known."""
    return DASH if value is None else f"{value:.{digits}f}{in_brackets(ends, digits)}"
