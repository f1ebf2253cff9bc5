"""How OpenCV resizes an image (`cv::resize`), in numpy: no antialiasing, so that a smaller image skips pixels.

Of `resize.cpp` in OpenCV's imgproc module: half-pixel centres for linear and cubic, `floor` without them for nearest,
edges repeated, the cubic's coefficient -0.75. OpenCV's fixed-point arithmetic may differ by a level.
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
    up, row_weights = _taps(rows, pixels.shape[0], height, kernel)
    across, column_weights = _taps(columns, pixels.shape[1], width, kernel)
    resized = np.zeros((len(rows), len(columns), pixels.shape[2]), np.float32)
    for i, row_weight in zip(up, row_weights, strict=True):
        lines = pixels[i]
        for j, column_weight in zip(across, column_weights, strict=True):
            resized += lines[:, j] * (row_weight[:, None] * column_weight)[..., None]
    levels = np.floor(resized + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = levels
    return found


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
    centre = (positions + 0.5) * scale - 0.5
    first = np.floor(centre).astype(np.int64)
    t = (centre - first).astype(np.float32)
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
