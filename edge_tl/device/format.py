"""Numbers as people read them: one way to print a number, a size, an interval, a duration and a dash for what is not
there. Knows no record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from edge_tl.device.text import printable

DASH = "—"
NOT_JUDGED = "not judged"  # the one word for what a busy machine or too few images leave open


def number(value: object, digits: int = 2, scale: float = 1.0) -> str:
    """``value * scale`` with a fixed count of digits; a dash for null, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(float(value) * scale):
        return DASH
    return f"{round(float(value) * scale, digits) + 0.0:,.{digits}f}"  # + 0.0: never "-0.00"


def percentage(fraction: object, digits: int = 2) -> str:
    """A fraction in hundredths, e.g. "95.03 %"; a dash for what is none."""
    text = number(fraction, digits, 100)
    return text if text == DASH else f"{text} %"


def megabytes(count: float, digits: int = 1) -> str:
    """A count of bytes in units of 10^6, e.g. "12.3 MB"."""
    return f"{number(count, digits, 1e-6)} MB"


def one_line(value: object) -> str:
    """One line of text that shows what it holds (a label, a file name) and does nothing; a dash for null and empty."""
    line = " ".join(str(DASH if value is None else value).split())
    return printable(line, keep="\u200d") or DASH  # the joiner of emoji changes nothing around it


def interval(value: object, bounds: Sequence[object] | None) -> str:
    """``value [low, high]``; without complete bounds the value alone."""
    text, ends = number(value), [number(bound) for bound in bounds or ()]
    return text if text == DASH or DASH in ends or len(ends) != 2 else f"{text} [{ends[0]}, {ends[1]}]"


def clock(seconds: object) -> str:
    """A duration as ``h:mm:ss``; a dash where there is none."""
    if number(seconds) == DASH:
        return DASH
    whole = max(0, round(float(seconds)))  # type: ignore[arg-type]
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
