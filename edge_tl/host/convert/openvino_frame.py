"""The sizes of a resize, and where a crop or a letterbox begins, as nodes of an OpenVINO model, in whole numbers of 32
bits: its CPU plugin has no doubles. Resamples nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_tl.device.preprocess import Preprocess

_LONGEST = 1_000_000
"""Pixels of a side; a frame has 2048 at most, and Pillow's limit leaves 178 for the other side."""


def int64_constant(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(value, np.int64))


def int32_constant(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(value, np.int32))


def resized_size(contract: Preprocess, given: Any) -> Any:
    """Height and width after the resize, int32 `(2,)`: `Preprocess._size_after_resize`."""
    from openvino import opset13 as ops

    if contract.resize == "none":
        return given
    if contract.resize == "exact":
        return int32_constant(contract.resize_size)
    if contract.resize == "letterbox":
        return _fitted_size(contract.resize_size, given)
    shorter = ops.reduce_min(given, int64_constant([0]), keep_dims=True)
    return ops.divide(ops.multiply(given, int32_constant([contract.resize_size[0]])), shorter)


def _fitted_size(frame: tuple[int, int], given: Any) -> Any:
    """`frame.fitted_size`, int32 `(2,)`; sides are `(height, width)` here."""
    from openvino import opset13 as ops

    height, width = (ops.gather(given, int64_constant([axis]), int64_constant(0)) for axis in (0, 1))
    # A side beyond is longer than that of any frame's aspect, and its product would leave 32 bits.
    across = ops.multiply(ops.minimum(width, int32_constant(_LONGEST)), int32_constant(frame[0]))
    down = ops.multiply(ops.minimum(height, int32_constant(_LONGEST)), int32_constant(frame[1]))
    low = ops.select(
        ops.greater(across, down),
        _fitted_side(height, width, (frame[1], frame[0])),
        int32_constant([frame[0]]),
    )
    narrow = ops.select(
        ops.less(across, down), _fitted_side(width, height, frame), int32_constant([frame[1]])
    )
    return ops.concat([low, narrow], 0)


def _fitted_side(over: Any, under: Any, sides: tuple[int, int]) -> Any:
    """`max(1, round(over / under * sides[0]))` as doubles round it, int32 `(1,)`, where it is `sides[1]` at most.
    Between whole numbers and their halves the exact quotient says it; what doubles make of these is a table."""
    from openvino import opset13 as ops

    side, most = sides
    doubled = ops.multiply(over, int32_constant([2 * side]))
    halves = ops.divide(doubled, under)
    exact = ops.equal(doubled, ops.multiply(halves, under))
    of_halves = int32_constant([max(1, round(n / (2 * side) * side)) for n in range(2 * most + 1)])
    in_table = ops.maximum(ops.minimum(halves, int32_constant([2 * most])), int32_constant([0]))
    nearest = ops.divide(ops.add(halves, int32_constant([1])), int32_constant([2]))
    return ops.select(
        exact, ops.gather(of_halves, in_table, int64_constant(0)), ops.maximum(nearest, int32_constant([1]))
    )


def letterbox_begin(size: Any, frame: tuple[int, int]) -> Any:
    """Where the frame begins in the resized image, int32 `(2,)`, never above 0: `frame.padded`."""
    from openvino import opset13 as ops

    return ops.negative(_half_to_even(ops.subtract(int32_constant(frame), size)))


def crop_begin(size: Any, wanted: tuple[int, int]) -> Any:
    """Where the crop begins in the resized image, int32 `(2,)`, halves to the even number; negative where it is padded:
    `frame.centre_crop`."""
    from openvino import opset13 as ops

    zero = int32_constant([0, 0])
    over = ops.maximum(ops.subtract(size, int32_constant(wanted)), zero)
    lacking = ops.maximum(ops.subtract(int32_constant(wanted), size), zero)
    return ops.subtract(_half_to_even(over), ops.divide(lacking, int32_constant([2])))


def _half_to_even(over: Any) -> Any:
    """Half of `over`, int32 from 0 up, halves to the even number."""
    from openvino import opset13 as ops

    two = int32_constant([2])
    half = ops.divide(over, two)
    odd = ops.subtract(over, ops.multiply(half, two))
    return ops.add(half, ops.multiply(odd, ops.mod(half, two)))
