"""OpenCV's resize, written once more, against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tl.device.diagnosis.opencv_resize import Kernel, resize_without_antialias

cv2 = pytest.importorskip("cv2", reason="OpenCV is the oracle, and is not installed here")
SIZES = [
    ((500, 333), (384, 256)), ((320, 240), (341, 256)), ((192, 128), (384, 256)), ((100, 77), (33, 20)),
    ((1, 48), (16, 768)), ((900, 700), (341, 265)), ((96, 64), (96, 64)), ((512, 400), (256, 200)),
    ((512, 256), (256, 256)), ((7, 5), (300, 214)), ((4, 6), (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "flag", "apart"),
    [
        ("opencv linear", "INTER_LINEAR", 0.0),
        ("opencv nearest", "INTER_NEAREST", 0.0),
        ("opencv cubic", "INTER_CUBIC", 0.1),
    ],
)
def test_linear_and_nearest_are_the_same_levels_and_cubic_hardly_another(
    kernel: Kernel, flag: str, apart: float
) -> None:
    """Of linear with halves rounded up INT8 hid the filter: its answers had been called the reference."""
    rng = np.random.default_rng(0)
    for (width, height), size in SIZES:
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        own = resize_without_antialias(pixels, size, kernel, middle=1000)
        off = np.abs(own.astype(int) - cv2.resize(pixels, size, interpolation=getattr(cv2, flag)))
        assert off.max() <= (apart > 0), (width, height, size)
        assert (off > 0).mean() <= apart, (width, height, size)


def test_the_middle_is_that_of_the_whole() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    for kernel in ("opencv linear", "opencv cubic", "opencv nearest", "centre nearest"):
        whole = resize_without_antialias(pixels, (70, 50), kernel, middle=1000)
        part = resize_without_antialias(pixels, (70, 50), kernel, middle=20)
        np.testing.assert_array_equal(part[15:35, 25:45], whole[15:35, 25:45])
        assert part[:15].max() == 0
