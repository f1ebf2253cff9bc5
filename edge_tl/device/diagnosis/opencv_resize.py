"""How OpenCV resizes an image (`cv::resize`), in numpy: no antialiasing, so that a smaller image skips pixels.

Of `resize.cpp` in OpenCV's imgproc module: half-pixel centres for linear and cubic, `floor` without them for nearest,
edges repeated, the cubic's coefficient -0.75. Linear is its fixed-point arithmetic, level for level: INT8 moves as far
by one level here and there as by the whole filter on images that hardly shrink. Cubic may differ by a level.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kernel = Literal["opencv linear", "opencv cubic", "opencv nearest", "centre nearest"]
_CUBIC = -0.75


def resize_without_antialias(
    pixels: NDArray[np.uint8], size: tuple[int, int], kernel: Kernel, *, middle: int
) -> NDArray[np.uint8]:
    """uint8 `(h, w, 3)` resized to `size`, `(width, height)`. Only the `middle` pixels of either side are computed, the
    others are black: what is cut away costs nothing, however long a sliver becomes."""
    width, height = size
    rows, columns = _middle(height, middle), _middle(width, middle)
    found = np.zeros((height, width, pixels.shape[2]), np.uint8)
    resized = _linear if kernel == "opencv linear" else _in_floats
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    found[part] = resized(pixels, (rows, height), (columns, width), kernel)
    return found


Side = tuple[NDArray[np.int64], int]  # the positions that are computed, and how many there are


def _in_floats(pixels: NDArray[np.uint8], rows: Side, columns: Side, kernel: Kernel) -> NDArray[np.uint8]:
    up, row_weights = _taps(rows[0], pixels.shape[0], rows[1], kernel)
    across, column_weights = _taps(columns[0], pixels.shape[1], columns[1], kernel)
    resized = np.zeros((len(rows[0]), len(columns[0]), pixels.shape[2]), np.float32)
    for i, row_weight in zip(up, row_weights, strict=True):
        lines = pixels[i]
        for j, column_weight in zip(across, column_weights, strict=True):
            resized += lines[:, j] * (row_weight[:, None] * column_weight)[..., None]
    levels: NDArray[np.uint8] = np.floor(resized + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return levels


def _linear(pixels: NDArray[np.uint8], rows: Side, columns: Side, kernel: Kernel) -> NDArray[np.uint8]:
    """Weights of 11 bits; rows of 19 bits, of which the columns' sum loses 4 before and 16 after it is weighted."""
    (upper, lower), row_weights = _taps(rows[0], pixels.shape[0], rows[1], kernel)
    (left, right), column_weights = _taps(columns[0], pixels.shape[1], columns[1], kernel)
    if pixels.shape[:2] == (2 * rows[1], 2 * columns[1]):  # OpenCV takes its INTER_AREA then
        four = sum(pixels[i][:, j].astype(np.int32) for i in (upper, lower) for j in (left, right))
        return np.asarray((four + 2) >> 2, np.uint8)
    before, after = (np.rint(w * np.float32(2048)).astype(np.int32)[:, None] for w in column_weights)
    total = np.int32(2)
    for i, weight in zip((upper, lower), row_weights, strict=True):
        lines = pixels[i].astype(np.int32)
        shifted = (lines[:, left] * before + lines[:, right] * after) >> 4
        total = total + ((np.rint(weight * np.float32(2048)).astype(np.int32)[:, None, None] * shifted) >> 16)
    return np.asarray(total >> 2, np.int32).clip(0, 255).astype(np.uint8)


def _middle(length: int, most: int) -> NDArray[np.int64]:
    start = max((length - most) // 2, 0)
    return np.arange(start, min(start + most, length))


def _taps(
    positions: NDArray[np.int64], old: int, new: int, kernel: Kernel
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """The source pixels of each position and their weights, tap by tap."""
    scale = old / new
    if kernel in ("opencv nearest", "centre nearest"):
        half = 0.5 if kernel == "centre nearest" else 0.0
        nearest = np.floor((positions + half) * scale).astype(np.int64).clip(0, old - 1)
        return [nearest], [np.ones(len(positions), np.float32)]
    centre = ((positions + 0.5) * (1 / (new / old)) - 0.5).astype(
        np.float32
    )  # in OpenCV's order of roundings
    first = np.floor(centre).astype(np.int64)
    t = centre - first.astype(np.float32)
    offsets, weights = (-1, 0, 1, 2), _cubic(t)
    if kernel == "opencv linear":
        offsets, weights = (0, 1), [1 - t, t]  # type: ignore[assignment]
    return [(first + offset).clip(0, old - 1) for offset in offsets], weights


def _cubic(t: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Weights of the pixels at -1, 0, 1 and 2 (Keys, 1981)."""
    a = _CUBIC
    before = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    own = ((a + 2) * t - (a + 3)) * t * t + 1
    after = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1
    return [before, own, after, 1 - before - own - after]
