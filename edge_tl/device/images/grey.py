"""Grey levels beyond 8 bits to 8 bits, by the range that an image's values keep to. Reads no file.

A file says how wide its numbers are, not what is black and what is white: floats are mostly 0 to 1, and 16-bit files
often hold 8-bit values. The same image always comes out the same, here and on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT = "grey levels from 0 to 1, taken as black to white"
EIGHT_BITS = "values wider than 8 bits that keep to 0..255, taken as 8 bits"
SIXTEEN_BITS = "values wider than 16 bits that keep to 0..65535, taken as 16 bits"
FAINT = (
    "16-bit grey levels below 4096, almost black as 16 bits: rescale the files if they hold 12 bits or fewer"
)
STRETCHED = "grey levels outside 0..65535, stretched from the least of the image to its largest"
_SLACK = 0.1  # how far resampling overshoots 0..1


# What decides how an image is read, in words, where it is not the width of its numbers alone.
BY_RANGE = {
    UNIT: "with 0 to 1 as black to white",
    EIGHT_BITS: "with 0 to 255 as black to white although the file has room for more",
    STRETCHED: "each stretched from its least to its largest value",
}


def to_levels(values: NDArray[Any]) -> tuple[NDArray[np.uint8], str | None]:
    """`(h, w)` integers or floats of any width to 8-bit levels, and what was assumed to get there (None for plain
    16-bit integers, whose high byte it is). What is not a finite number becomes black."""
    finite = np.isfinite(values)
    if values.size and finite.all():
        return _by_range(values, float(values.min()), float(values.max()), values.dtype.kind == "f")
    known = values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    levels, remark = _by_range(np.where(finite, values, np.asarray(low, values.dtype)), low, high, True)
    levels[~finite] = 0
    return levels, remark


def _by_range(
    values: NDArray[Any], low: float, high: float, floats: bool
) -> tuple[NDArray[np.uint8], str | None]:
    """As `to_levels`, of finite `values` between `low` and `high`."""
    if floats and low >= -_SLACK and high <= 1 + _SLACK:
        return _rounded(values.astype(np.float64) * 255), UNIT
    if low >= 0 and high <= 255:
        return _rounded(values.astype(np.float64)), EIGHT_BITS
    if low >= 0 and high <= 65535:
        levels = (values.astype(np.float64) / 256).clip(0, 255).astype(np.uint8)
        narrow = FAINT if high < 4096 else None
        return levels, narrow or (SIXTEEN_BITS if floats else None)
    span = max(high - low, np.finfo(np.float64).tiny)
    return _rounded((values.astype(np.float64) - low) / span * 255), STRETCHED


def _rounded(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor(levels + 0.5).clip(0, 255).astype(np.uint8)
