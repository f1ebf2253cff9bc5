"""The frame of an image: the numbers of a resize with their rounding, the crop and the padding. Resamples nothing; who
wants an image framed calls `Preprocess`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]  # (width, height) in pixels


def size_by_shorter_side(size: Size, side: int) -> Size:
    """`size` after its shorter side became `side`. The longer one is truncated, not rounded, as torchvision does it."""
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def fitted_size(size: Size, frame: Size) -> Size:
    """The largest size of the aspect of `size` that fits into `frame`, smaller or larger than it was.

    One side is the frame's. The other is, as in `PIL.ImageOps.contain`, `round(height / width * frame width)` or
    `round(width / height * frame height)`: in double precision, in this order, halves to the even number; and at least
    1, of which Pillow does not take care.
    """
    width, height = size
    if width / height > frame[0] / frame[1]:
        return frame[0], max(1, round(height / width * frame[0]))
    if width / height < frame[0] / frame[1]:
        return max(1, round(width / height * frame[1])), frame[1]
    return frame


def centre_offset(whole: int, part: int) -> int:
    """Where a centred `part` of a `whole` begins, in pixels: half of what is left, halves to the even number, as
    torchvision's CenterCrop and Pillow's `ImageOps.pad` round it. Negative where the part is the larger."""
    return round((whole - part) / 2)


def centre_crop(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """torchvision's CenterCrop: black padding where the image is smaller, then a crop at rounded offsets."""
    height, width = pixels.shape[:2]
    wide, high = max(size[1] - width, 0), max(size[0] - height, 0)
    if wide or high:
        pad = ((high // 2, (high + 1) // 2), (wide // 2, (wide + 1) // 2), (0, 0))
        pixels = np.pad(pixels, pad)
        height, width = pixels.shape[:2]
    top, left = centre_offset(height, size[0]), centre_offset(width, size[1])
    return pixels[top : top + size[0], left : left + size[1]]


def padded(
    pixels: NDArray[np.uint8], size: tuple[int, int], color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """`pixels` in the middle of a frame of `size`, as `PIL.ImageOps.pad` places them."""
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    frame = np.empty((*size, 3), np.uint8)
    frame[:] = color
    top, left = centre_offset(size[0], height), centre_offset(size[1], width)
    frame[top : top + height, left : left + width] = pixels
    return frame
