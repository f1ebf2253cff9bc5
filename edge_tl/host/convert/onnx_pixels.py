"""The preprocessing contract as nodes of an ONNX graph, bit for bit what Pillow and `Preprocess` compute.

Pillow resizes in two passes, columns first, each a sum of pixels times coefficients of 22 fractional bits, rounded and
clipped to 8 bits (`src/libImaging/Resample.c`). Here the coefficients are computed from the input's shape, in double
as Pillow does; each pass is a product of small matrices, one for every few output columns (or rows) and the pixels that
these read. The coefficients are split into bytes, so that every product is of integers (`MatMulInteger`): exact
whatever the order, and what CPUs are fastest at. Only the pixels that the crop keeps are computed.

Nodes are named `PREFIX`; quantizers never see them. Every operator is of opset 13.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.raw_pixels import PREFIX

IMAGE, PROBABILITIES = "image", "probabilities"
_TILE = 16  # output columns or rows of a product; benchmarks/image_input.py measures others
_BITS = 22  # of Pillow's coefficients, after the binary point
_BASE = 64  # what is added to a coefficient's highest byte where it may be negative
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


@dataclass
class _Nodes:
    """Nodes and constants as they are added; a name stands for a tensor."""

    graph: GraphProto = field(default_factory=GraphProto)

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{PREFIX}{len(self.graph.node)}_{operator}"
        self.graph.node.append(onnx.helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: Any, kind: type[np.generic] = np.int64) -> str:
        """Of a scalar, a list or an array."""
        name = f"{PREFIX}constant{len(self.graph.initializer)}"
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def double(self, value: str) -> str:
        return self("Cast", value, to=TensorProto.DOUBLE)

    def shaped(self, value: str, *shape: int) -> str:
        return self("Reshape", value, self.constant(shape))

    def slice(self, value: str, start: str, end: str, axis: int) -> str:
        """`start` and `end` are of one element."""
        return self("Slice", value, start, end, self.constant([axis]))


@dataclass(frozen=True)
class _Axis:
    """What one axis needs: for each of the tiles the pixels that it reads, int64 `(tiles, reach)`, and three bytes of
    each coefficient, uint8 `(tiles, tile, reach)`, lowest first. `first` and `end`, of one element, bound all pixels."""

    pixels: str
    coefficients: tuple[str, str, str]
    first: str
    end: str


def put_in_front(model: ModelProto, contract: Preprocess, *, tile: int = _TILE) -> None:
    """Have `model`, whose input is float32 `(n, 3, H, W)` and whose output logits `(n, classes)`, take one image, uint8
    `(1, H, W, 3)` of any size, and give probabilities `(1, classes)`. Its own nodes stay as they are.

    Raises `EdgeTLError` for a contract that resizes in another way than bilinear or bicubic.
    """
    graph, add = model.graph, _Nodes()
    [given], [logits] = graph.input, graph.output
    pixels = pixel_nodes(add, contract, tile)
    normalized = _normalize(add, contract, pixels)
    add.graph.node[-1].output[0] = given.name
    assert normalized == add.graph.node[-1].name
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*add.graph.node, *own])
    graph.initializer.extend(add.graph.initializer)
    graph.node.append(
        onnx.helper.make_node("Softmax", [logits.name], [PROBABILITIES], f"{PREFIX}softmax", axis=1)
    )
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    image = onnx.helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, "height", "width", 3])
    answer = onnx.helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [1, classes])
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(image)
    graph.output.append(answer)


def pixels_alone(contract: Preprocess, *, opset: int = 13, tile: int = _TILE) -> ModelProto:
    """The contract up to the crop as a model of its own: uint8 `(1, H, W, 3)` of any size to `(1, height, width, 3)`."""
    add = _Nodes()
    pixels = pixel_nodes(add, contract, tile)
    image = onnx.helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, "height", "width", 3])
    answer = onnx.helper.make_tensor_value_info(pixels, TensorProto.UINT8, [1, *contract.input_size, 3])
    graph = onnx.helper.make_graph(add.graph.node, "pixels", [image], [answer], add.graph.initializer)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 7
    return model


def pixel_nodes(add: _Nodes, contract: Preprocess, tile: int) -> str:
    """The contract's steps up to the crop: uint8 `(1, height, width, 3)`. Raises `EdgeTLError`."""
    if contract.resize == "none":  # every coefficient is then 0 or 1
        support, filtered = 1.0, _bilinear
    elif contract.interpolation in _SUPPORT:
        support = _SUPPORT[contract.interpolation]
        filtered = {"bilinear": _bilinear, "bicubic": _bicubic}[contract.interpolation]
    else:
        raise EdgeTLError(
            f"an ONNX graph with {contract.interpolation} resizing is not made: raw pixels are resized bilinear or "
            "bicubic. Export with --input tensor"
        )
    shape = add("Shape", IMAGE)
    given = [add("Gather", shape, add.constant(axis)) for axis in (1, 2)]
    resized = _resized_size(add, contract, given)
    rows, columns = (
        _axis(add, size, into, _window(add, into, wanted), (wanted, tile), (support, filtered))
        for size, into, wanted in zip(given, resized, contract.input_size, strict=True)
    )
    return _resample(add, rows, columns, contract.input_size)


def _resized_size(add: _Nodes, contract: Preprocess, given: list[str]) -> list[str]:
    """Height and width after the resize, int64 scalars: `Preprocess._size_after_resize`."""
    if contract.resize == "none":
        return given
    if contract.resize == "exact":
        return [add.constant(side) for side in contract.resize_size]
    side, shorter = add.constant(contract.resize_size[0]), add("Min", *given)
    return [add("Div", add("Mul", side, size), shorter) for size in given]


def _window(add: _Nodes, size: str, wanted: int) -> str:
    """Where the crop begins in the resized image, an int64 scalar; negative where it is padded: `_center_crop`."""
    two = add.constant(2)
    over = add("Sub", size, add.constant(wanted))
    half = add("Div", over, two)  # towards 0
    odd = add("Max", add("Sub", over, add("Mul", half, two)), add.constant(0))
    return add("Add", half, add("Mul", add("Mod", half, two), odd))  # a half goes to the even number


def _axis(
    add: _Nodes, given: str, resized: str, begin: str, sizes: tuple[int, int], kind: Any
) -> _Axis:
    """Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` for the `sizes[0]` positions from `begin` on, in tiles of
    `sizes[1]`, of an axis of `given` pixels that becomes `resized` pixels long."""
    (wanted, tile), (support, filtered) = sizes, kind
    tiles = -(-wanted // tile)
    zero, one, half = add.constant(0), add.constant(1), add.constant(0.5, np.float64)
    at = add("Add", add.constant(np.arange(tiles * tile)), begin)
    inside = add("And", add("GreaterOrEqual", at, zero), add("Less", at, resized))
    at = add("Min", add("Max", at, zero), add("Sub", resized, one))
    scale = add("Div", add.double(given), add.double(resized))
    stretch = add("Max", scale, add.constant(1.0, np.float64))
    reach = add("Mul", add.constant(support, np.float64), stretch)
    center = add("Mul", add("Add", add.double(at), half), scale)
    low = add("Cast", add("Add", add("Sub", center, reach), half), to=TensorProto.INT64)
    low = add("Max", low, zero)
    high = add("Cast", add("Add", add("Add", center, reach), half), to=TensorProto.INT64)
    high = add("Min", high, given)
    low, high, center, inside = (add.shaped(each, tiles, tile, 1) for each in (low, high, center, inside))
    first = add("Slice", low, add.constant([0]), add.constant([1]), add.constant([1]))
    last = add("Slice", high, add.constant([tile - 1]), add.constant([tile]), add.constant([1]))
    longest = add("ReduceMax", add("Sub", last, first), keepdims=0)
    pixels = add("Add", first, add("Range", zero, longest, one))  # (tiles, 1, longest)
    distance = add("Add", add("Sub", add.double(pixels), center), half)
    distance = add("Mul", distance, add("Div", add.constant(1.0, np.float64), stretch))
    read = add("And", add("GreaterOrEqual", pixels, low), add("Less", pixels, high))
    weights = add(
        "Where", read, filtered(add, add("Abs", distance)), add.constant(0.0, np.float64)
    )
    total = add("ReduceSum", weights, add.constant([2]), keepdims=1)
    share = add("Mul", add("Div", weights, total), add.constant(float(1 << _BITS), np.float64))
    signed = add("Where", add("Less", share, add.constant(0.0, np.float64)), add.constant(-0.5, np.float64), half)
    whole = add("Cast", add("Add", share, signed), to=TensorProto.INT64)
    whole = add("Where", inside, whole, zero)
    flat = add.shaped(add("Min", pixels, add("Sub", given, one)), tiles, -1)
    begin, end = add("Gather", add.shaped(first, -1), add.constant([0])), add("Gather", add.shaped(last, -1), add.constant([tiles - 1]))
    return _Axis(flat, _bytes(add, whole), begin, end)


def _bilinear(add: _Nodes, distance: str) -> str:
    """Pillow's `bilinear_filter` of a distance from 0 up, float64."""
    return add("Max", add("Sub", add.constant(1.0, np.float64), distance), add.constant(0.0, np.float64))


def _bicubic(add: _Nodes, distance: str) -> str:
    """Pillow's `bicubic_filter` (a = -0.5) of a distance from 0 up, float64, in its order of operations."""

    def number(value: float) -> str:
        return add.constant(value, np.float64)

    near = add("Sub", add("Mul", number(1.5), distance), number(2.5))
    near = add("Add", add("Mul", add("Mul", near, distance), distance), number(1.0))
    far = add("Add", add("Mul", add("Sub", distance, number(5.0)), distance), number(8.0))
    far = add("Mul", add("Sub", add("Mul", far, distance), number(4.0)), number(-0.5))
    far = add("Where", add("Less", distance, number(2.0)), far, number(0.0))
    return add("Where", add("Less", distance, number(1.0)), near, far)


def _bytes(add: _Nodes, whole: str) -> tuple[str, str, str]:
    """The lowest, middle and highest byte of coefficients, `_BASE` added to the last so that none is negative."""
    whole, step = add("Add", whole, add.constant(_BASE << 16)), add.constant(256)
    found = []
    for _ in range(3):
        found.append(add("Cast", add("Mod", whole, step), to=TensorProto.UINT8))
        whole = add("Div", whole, step)
    return found[0], found[1], found[2]


def _resample(add: _Nodes, rows: _Axis, columns: _Axis, size: tuple[int, int]) -> str:
    """Both passes: uint8 `(1, height, width, 3)`."""
    height, width = size
    image = add.slice(IMAGE, rows.first, rows.end, 1)
    shape = add("Shape", image)
    taken = add.slice(shape, add.constant([1]), add.constant([2]), 0)
    three = add.constant([3])
    image = add("Transpose", add("Squeeze", image, add.constant([0])), perm=[1, 0, 2])
    image = add.shaped(image, 0, -1)
    image = _pass(add, image, columns, width)
    image = add("Reshape", image, add("Concat", add.constant([width]), taken, three, axis=0))
    image = add.shaped(add("Transpose", image, perm=[1, 0, 2]), 0, width * 3)
    within = add("Min", add("Sub", rows.pixels, rows.first), add("Sub", taken, add.constant(1)))
    image = _pass(add, image, _Axis(within, rows.coefficients, rows.first, rows.end), height)
    return add.shaped(image, 1, height, width, 3)


def _pass(add: _Nodes, image: str, axis: _Axis, wanted: int) -> str:
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


def _normalize(add: _Nodes, contract: Preprocess, pixels: str) -> str:
    """`Preprocess.normalize`: uint8 `(1, height, width, 3)` to float32 `(1, 3, height, width)`, the same bits."""
    planes = add("Cast", add("Transpose", pixels, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    mean, std = (np.asarray(v, np.float32).reshape(1, 3, 1, 1) for v in (contract.mean, contract.std))
    planes = add("Div", planes, add.constant(255, np.float32))
    planes = add("Sub", planes, add.constant(mean, np.float32))
    return add("Div", planes, add.constant(std, np.float32))
