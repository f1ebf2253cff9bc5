"""The preprocessing contract as nodes of an ONNX graph, bit for bit what `Preprocess` computes: a function for each
step. Only the pixels that the crop keeps are computed.

The nodes are put in front of a finished file: no quantizer sees them. Every operator is of opset 13.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.onnx_nodes import PREFIX, Nodes
from edge_tl.host.convert.onnx_resample import Axis, axis_nodes, filter_of, resample

IMAGE, PROBABILITIES = "image", "probabilities"
_TILE = 16  # output columns or rows of a product


def put_in_front(model: ModelProto, contract: Preprocess, *, tile: int = _TILE) -> None:
    """Have `model`, whose input is float32 `(n, 3, H, W)` and whose output logits `(n, classes)`, take one image, uint8
    `(1, H, W, 3)` of any size, and give probabilities `(1, classes)`. Its own nodes stay as they are.

    Raises `EdgeTLError` for a contract that takes the nearest pixel.
    """
    graph, add = model.graph, Nodes()
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
    """The contract up to the crop as a model: uint8 `(1, H, W, 3)` of any size to `(1, height, width, 3)`."""
    add = Nodes()
    pixels = pixel_nodes(add, contract, tile)
    image = onnx.helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, "height", "width", 3])
    answer = onnx.helper.make_tensor_value_info(pixels, TensorProto.UINT8, [1, *contract.input_size, 3])
    graph = onnx.helper.make_graph(add.graph.node, "pixels", [image], [answer], add.graph.initializer)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 7
    return model


def pixel_nodes(add: Nodes, contract: Preprocess, tile: int) -> str:
    """The contract's steps up to the crop: uint8 `(1, height, width, 3)`. Raises `EdgeTLError`."""
    by = filter_of(contract)
    offset = _letterbox_offset if contract.resize == "letterbox" else _crop_offset
    shape = add("Shape", IMAGE)
    given = [add("Gather", shape, add.constant(axis)) for axis in (1, 2)]
    resized = _resized_size(add, contract, given)
    rows, columns = (
        axis_nodes(add, size, into, offset(add, into, wanted), (wanted, tile), by)
        for size, into, wanted in zip(given, resized, contract.input_size, strict=True)
    )
    pixels = resample(add, IMAGE, rows, columns, contract.input_size)
    return _colored(add, contract.pad, rows, columns, pixels) if contract.pad else pixels


def _resized_size(add: Nodes, contract: Preprocess, given: list[str]) -> list[str]:
    """Height and width after the resize, int64 scalars: `Preprocess._size_after_resize`."""
    if contract.resize == "none":
        return given
    if contract.resize == "exact":
        return [add.constant(side) for side in contract.resize_size]
    if contract.resize == "letterbox":
        return _fitted_size(add, contract.resize_size, given)
    side, shorter = add.constant(contract.resize_size[0]), add("Min", *given)
    return [add("Div", add("Mul", side, size), shorter) for size in given]


def _fitted_size(add: Nodes, frame: tuple[int, int], given: list[str]) -> list[str]:
    """`frame.fitted_size`; sides are `(height, width)` here."""
    wide, high = float(frame[1]), float(frame[0])
    height, width = (add.double(size) for size in given)
    aspect, of_frame = add("Div", width, height), add.constant(wide / high, np.float64)

    def side(over: str, under: str, frame_side: float) -> str:
        part = add("Mul", add("Div", over, under), add.constant(frame_side, np.float64))
        return add("Max", add("Cast", add("Round", part), to=TensorProto.INT64), add.constant(1))

    return [
        add("Where", add("Greater", aspect, of_frame), side(height, width, wide), add.constant(frame[0])),
        add("Where", add("Less", aspect, of_frame), side(width, height, high), add.constant(frame[1])),
    ]


def _letterbox_offset(add: Nodes, size: str, frame: int) -> str:
    """Where the frame begins in the resized image, an int64 scalar that is never above 0: `frame.padded`."""
    return add("Neg", _half(add, add("Sub", add.constant(frame), size)))


def _crop_offset(add: Nodes, size: str, wanted: int) -> str:
    """Where the crop begins in the resized image, an int64 scalar; negative where it is padded: `frame.centre_crop`."""
    return _half(add, add("Sub", size, add.constant(wanted)))


def _half(add: Nodes, over: str) -> str:
    """Half of `over`, int64: halves above 0 to the even number, below towards 0."""
    two = add.constant(2)
    half = add("Div", over, two)  # towards 0
    odd = add("Max", add("Sub", over, add("Mul", half, two)), add.constant(0))
    return add("Add", half, add("Mul", add("Mod", half, two), odd))  # a half goes to the even number


def _colored(add: Nodes, color: tuple[int, int, int], rows: Axis, columns: Axis, pixels: str) -> str:
    """With the colour of a letterbox where there is padding."""
    inside = add("And", add.shaped(rows.inside, 1, -1, 1, 1), add.shaped(columns.inside, 1, 1, -1, 1))
    return add("Where", inside, pixels, add.constant(color, np.uint8))


def _normalize(add: Nodes, contract: Preprocess, pixels: str) -> str:
    """`Preprocess.normalize`: uint8 `(1, height, width, 3)` to float32 `(1, 3, height, width)`, the same bits.

    In flat planes: ONNX Runtime moves a transposition behind what it can, to where it meets one of the model's own, and
    a padded INT8 model then subtracts, divides and pads three channels at a time, which takes longer.
    """
    planes = add.shaped(add("Transpose", pixels, perm=[0, 3, 1, 2]), 1, 3, -1)
    planes = add("Cast", planes, to=TensorProto.FLOAT)
    mean, std = (np.asarray(v, np.float32).reshape(1, 3, 1) for v in (contract.mean, contract.std))
    planes = add("Div", planes, add.constant(255, np.float32))
    planes = add("Sub", planes, add.constant(mean, np.float32))
    planes = add("Div", planes, add.constant(std, np.float32))
    return add.shaped(planes, 1, 3, *contract.input_size)
