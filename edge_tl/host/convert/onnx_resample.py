"""Pillow's resize as nodes of an ONNX graph, bit for bit.

Pillow resizes in two passes, columns first, each a sum of pixels times coefficients of 22 fractional bits, rounded and
clipped to 8 bits (`src/libImaging/Resample.c`). Here the coefficients are computed from the input's shape, in double
as Pillow does; each pass is a product of small matrices, one for every few output columns (or rows) and the pixels that
these read. The coefficients are split into bytes, so that every product is of integers (`MatMulInteger`): exact
whatever the order, and what CPUs are fastest at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.onnx_nodes import Nodes

_BITS = 22  # of Pillow's coefficients, after the binary point
NO_NEAREST = (
    "a model with nearest resizing inside is not made: which pixel Pillow takes depends on the rounding of a sum that "
    "grows with every pixel, and no runtime promises that. Resize outside the model"
)
_BASE = 64  # what is added to a coefficient's highest byte where it may be negative


@dataclass(frozen=True)
class Filter:
    """Pillow's, by its reach in pixels and its weight, float64, of a distance from 0 up."""

    support: float
    weight: Callable[[Nodes, str], str]


def filter_of(contract: Preprocess) -> Filter:
    """Raises `EdgeTLError` for one that is not made here."""
    if contract.resize == "none":  # every coefficient is then 0 or 1
        return Filter(1.0, _bilinear)
    if contract.interpolation not in _FILTERS:
        raise EdgeTLError(NO_NEAREST)
    return _FILTERS[contract.interpolation]


@dataclass(frozen=True)
class Axis:
    """What one axis needs: for each of the tiles the pixels that it reads, int64 `(tiles, reach)`, and three bytes of
    each coefficient, uint8 `(tiles, tile, reach)`, lowest first. `first` and `end`, of one element, bound all pixels.
    `inside`, bool `(wanted,)`, is false where there is padding; all coefficients are 0 there."""

    pixels: str
    coefficients: tuple[str, str, str]
    inside: str
    first: str
    end: str


def axis_nodes(add: Nodes, given: str, resized: str, begin: str, sizes: tuple[int, int], by: Filter) -> Axis:
    """Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` for the `sizes[0]` positions from `begin` on, in tiles
    of `sizes[1]`, of an axis of `given` pixels that becomes `resized` pixels long."""
    wanted, tile = sizes
    tiles = -(-wanted // tile)
    zero, one, half = add.constant(0), add.constant(1), add.constant(0.5, np.float64)
    at = add("Add", add.constant(np.arange(tiles * tile)), begin)
    inside = add("And", add("GreaterOrEqual", at, zero), add("Less", at, resized))
    at = add("Min", add("Max", at, zero), add("Sub", resized, one))
    scale = add("Div", add.double(given), add.double(resized))
    stretch = add("Max", scale, add.constant(1.0, np.float64))
    reach = add("Mul", add.constant(by.support, np.float64), stretch)
    center = add("Mul", add("Add", add.double(at), half), scale)
    low = add("Cast", add("Add", add("Sub", center, reach), half), to=TensorProto.INT64)
    low = add("Max", low, zero)
    high = add("Cast", add("Add", add("Add", center, reach), half), to=TensorProto.INT64)
    high = add("Min", high, given)
    shown = add.slice(inside, add.constant([0]), add.constant([wanted]), 0)
    low, high, center, inside = (add.shaped(each, tiles, tile, 1) for each in (low, high, center, inside))
    first = add("Slice", low, add.constant([0]), add.constant([1]), add.constant([1]))
    last = add("Slice", high, add.constant([tile - 1]), add.constant([tile]), add.constant([1]))
    longest = add("ReduceMax", add("Sub", last, first), keepdims=0)
    pixels = add("Add", first, add("Range", zero, longest, one))  # (tiles, 1, longest)
    distance = add("Add", add("Sub", add.double(pixels), center), half)
    distance = add("Mul", distance, add("Div", add.constant(1.0, np.float64), stretch))
    read = add("And", add("GreaterOrEqual", pixels, low), add("Less", pixels, high))
    weights = add("Where", read, by.weight(add, add("Abs", distance)), add.constant(0.0, np.float64))
    total = add("ReduceSum", weights, add.constant([2]), keepdims=1)
    share = add("Mul", add("Div", weights, total), add.constant(float(1 << _BITS), np.float64))
    signed = add(
        "Where", add("Less", share, add.constant(0.0, np.float64)), add.constant(-0.5, np.float64), half
    )
    whole = add("Cast", add("Add", share, signed), to=TensorProto.INT64)
    whole = add("Where", inside, whole, zero)
    flat = add.shaped(add("Min", pixels, add("Sub", given, one)), tiles, -1)
    begin, end = (
        add("Gather", add.shaped(first, -1), add.constant([0])),
        add("Gather", add.shaped(last, -1), add.constant([tiles - 1])),
    )
    return Axis(flat, _bytes(add, whole), shown, begin, end)


def _bilinear(add: Nodes, distance: str) -> str:
    """Pillow's `bilinear_filter` of a distance from 0 up, float64."""
    return add("Max", add("Sub", add.constant(1.0, np.float64), distance), add.constant(0.0, np.float64))


def _bicubic(add: Nodes, distance: str) -> str:
    """Pillow's `bicubic_filter` (a = -0.5) of a distance from 0 up, float64, in its order of operations."""

    def number(value: float) -> str:
        return add.constant(value, np.float64)

    near = add("Sub", add("Mul", number(1.5), distance), number(2.5))
    near = add("Add", add("Mul", add("Mul", near, distance), distance), number(1.0))
    far = add("Add", add("Mul", add("Sub", distance, number(5.0)), distance), number(8.0))
    far = add("Mul", add("Sub", add("Mul", far, distance), number(4.0)), number(-0.5))
    far = add("Where", add("Less", distance, number(2.0)), far, number(0.0))
    return add("Where", add("Less", distance, number(1.0)), near, far)


def _lanczos(add: Nodes, distance: str) -> str:
    """Pillow's `lanczos_filter` of a distance from 0 up, float64."""
    zero, three = (add.constant(value, np.float64) for value in (0.0, 3.0))
    window = add("Mul", _sinc(add, distance), _sinc(add, add("Div", distance, three)))
    return add("Where", add("Less", distance, three), window, zero)


def _sinc(add: Nodes, distance: str) -> str:
    one = add.constant(1.0, np.float64)
    angle = add("Mul", distance, add.constant(math.pi, np.float64))
    middle = add("Equal", distance, add.constant(0.0, np.float64))
    return add("Where", middle, one, add("Div", add("Sin", angle), add("Where", middle, one, angle)))


def _bytes(add: Nodes, whole: str) -> tuple[str, str, str]:
    """The lowest, middle and highest byte of coefficients, `_BASE` added to the last so that none is negative."""
    whole, step = add("Add", whole, add.constant(_BASE << 16)), add.constant(256)
    found = []
    for _ in range(3):
        found.append(add("Cast", add("Mod", whole, step), to=TensorProto.UINT8))
        whole = add("Div", whole, step)
    return found[0], found[1], found[2]


def resample(add: Nodes, image: str, rows: Axis, columns: Axis, size: tuple[int, int]) -> str:
    """Both passes over `image`, uint8 `(1, H, W, 3)`: uint8 `(1, height, width, 3)`."""
    height, width = size
    image = add.slice(image, rows.first, rows.end, 1)
    shape = add("Shape", image)
    taken = add.slice(shape, add.constant([1]), add.constant([2]), 0)
    three = add.constant([3])
    image = add("Transpose", add("Squeeze", image, add.constant([0])), perm=[1, 0, 2])
    image = add.shaped(image, 0, -1)
    image = _pass(add, image, columns, width)
    image = add("Reshape", image, add("Concat", add.constant([width]), taken, three, axis=0))
    image = add.shaped(add("Transpose", image, perm=[1, 0, 2]), 0, width * 3)
    within = add("Min", add("Sub", rows.pixels, rows.first), add("Sub", taken, add.constant(1)))
    image = _pass(add, image, replace(rows, pixels=within), height)
    return add.shaped(image, 1, height, width, 3)


def _pass(add: Nodes, image: str, axis: Axis, wanted: int) -> str:
    """Sums of the rows of `image`, uint8 `(given, n)`, times coefficients, rounded and clipped: uint8 `(wanted, n)`."""
    read = add("Gather", image, axis.pixels, axis=0)  # (tiles, reach, n)
    zero, base = (add.constant(value, np.uint8) for value in (0, _BASE))
    parts = [
        add("MatMulInteger", coefficients, read, point, zero)
        for coefficients, point in zip(axis.coefficients, (zero, zero, base), strict=True)
    ]
    total = add.constant(1 << (_BITS - 1), np.int32)
    for power, part in enumerate(parts):
        total = add("Add", total, add("Mul", part, add.constant(256**power, np.int32)))
    # Towards 0, where Pillow shifts: of what is negative both become 0.
    level = add("Div", total, add.constant(1 << _BITS, np.int32))
    level = add("Clip", level, add.constant(0, np.int32), add.constant(255, np.int32))
    level = add("Flatten", add("Cast", level, to=TensorProto.UINT8), axis=2)  # (tiles * tile, n)
    return add.slice(level, add.constant([0]), add.constant([wanted]), 0)


_FILTERS = {
    "bilinear": Filter(1.0, _bilinear),
    "bicubic": Filter(2.0, _bicubic),
    "lanczos": Filter(3.0, _lanczos),
}
