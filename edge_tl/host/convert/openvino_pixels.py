"""The preprocessing contract as nodes of an OpenVINO model, a function for each step: a level of 255 from Pillow at
most, on hardly any pixel.

Each of Pillow's two passes is a product of matrices, with 8 bits between them. OpenVINO has Pillow's resize as an
operator too (Interpolate, "bilinear_pillow"): it prepares half a second for every new size of an image, takes twice as
long, and comes within two levels. Distances are computed in whole numbers, since OpenVINO's CPU has no doubles.

The nodes are put in front of a finished model: no quantizer sees them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.matrix_layers import PIXEL_NODES
from edge_tl.host.convert.onnx_pixels import IMAGE, PROBABILITIES
from edge_tl.host.convert.onnx_resample import NO_NEAREST
from edge_tl.host.convert.openvino_frame import (
    crop_begin,
    int32_constant,
    int64_constant,
    letterbox_begin,
    resized_size,
)

_COEFFICIENTS = 2.0**22  # Pillow's have 22 bits after the binary point


def take_raw_pixels(model: Any, contract: Preprocess) -> None:
    """Have `model`, whose input is float32 `(n, 3, H, W)` and whose output logits `(n, classes)`, take one image, uint8
    `(1, H, W, 3)` of any size, and give probabilities `(1, classes)`. Its own nodes stay as they are.

    Raises `EdgeTLError` for a contract that takes the nearest pixel.
    """
    from openvino import opset13 as ops

    image, levels = _level_nodes(contract)
    given, result = model.get_parameters()[0], model.get_results()[0]
    given.output(0).replace(_normalize(contract, levels).output(0))
    model.remove_parameter(given)
    model.add_parameters([image])
    logits = result.input_value(0)
    probabilities = ops.softmax(logits, 1)
    logits.set_names(set())
    probabilities.output(0).set_names({PROBABILITIES})
    result.input(0).replace_source_output(probabilities.output(0))
    model.validate_nodes_and_infer_types()


def pixel_model(contract: Preprocess) -> Any:
    """The contract up to the crop as a model: uint8 `(1, H, W, 3)` of any size to `(1, height, width, 3)`."""
    import openvino
    from openvino import opset13 as ops

    image, levels = _level_nodes(contract)
    pixels = ops.convert(ops.transpose(levels, int64_constant([0, 2, 3, 1])), "u8")
    return openvino.Model([pixels], [image], "pixels")


def _level_nodes(contract: Preprocess) -> tuple[Any, Any]:
    """The input, and the contract's steps up to the crop: whole levels, float32 `(1, 3, height, width)`. Raises
    `EdgeTLError`."""
    from openvino import opset13 as ops

    _check_made(contract)
    image = ops.parameter([1, -1, -1, 3], np.uint8, IMAGE)
    image.output(0).set_names({IMAGE})
    given = ops.convert(ops.gather(ops.shape_of(image), int64_constant([1, 2]), int64_constant(0)), "i32")
    resized = resized_size(contract, given)
    begins = letterbox_begin if contract.resize == "letterbox" else crop_begin
    sides = (given, resized, begins(resized, contract.input_size))
    axes = [
        [ops.gather(each, int64_constant([axis]), int64_constant(0)) for each in sides] for axis in (0, 1)
    ]
    rows, columns = (
        _coefficients(contract, axis, wanted) for axis, wanted in zip(axes, contract.input_size, strict=True)
    )
    planes = ops.convert(ops.transpose(image, int64_constant([0, 3, 1, 2])), "f32")
    planes = _rounded(ops.matmul(planes, columns, False, True, name=f"{PIXEL_NODES}columns"))
    planes = _rounded(ops.matmul(rows, planes, False, False, name=f"{PIXEL_NODES}rows"))
    if contract.pad:
        planes = _colored(planes, contract.pad, axes, contract.input_size)
    # Its size is known from here on, which the model behind it is compiled for.
    return image, ops.reshape(planes, int64_constant([1, 3, *contract.input_size]), special_zero=False)


def _check_made(contract: Preprocess) -> None:
    """Raises `EdgeTLError`."""
    if contract.resize != "none" and contract.interpolation == "nearest":
        raise EdgeTLError(NO_NEAREST)


def _float(value: float) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.float32(value))


def _coefficients(contract: Preprocess, sizes: list[Any], wanted: int) -> Any:
    """Pillow's, of the `wanted` positions of one axis for all of its pixels, float32 `(wanted, given)`; 0 where there
    is padding. `sizes`, int32 `(1,)` each: the axis' length, its length after the resize, where the crop begins."""
    from openvino import opset13 as ops

    given, resized, begin = sizes
    at = _places(begin, wanted)
    pixels = ops.range(int32_constant(0), ops.squeeze(given, int64_constant([0])), int32_constant(1), "i32")
    # (j + 0.5 - (i + 0.5) * given / resized) / max(given / resized, 1), all of it times twice the longer side; from the
    # middle of the axis on, where the crop is: from its ends on, a strip's products leave 32 bits.
    from_middle = ops.subtract(_odd(pixels), given)
    before_middle = ops.subtract(resized, _odd(at))  # within `wanted` of 0
    scale = ops.divide(given, resized)
    far = ops.add(
        ops.divide(ops.multiply(given, int32_constant(wanted)), resized),
        ops.multiply(scale, int32_constant(8)),
    )
    far = ops.add(far, int32_constant(10))  # what is farther has no weight for any position
    from_middle = ops.maximum(ops.minimum(from_middle, far), ops.negative(far))
    apart = ops.abs(ops.add(ops.multiply(from_middle, resized), ops.multiply(before_middle, given)))
    longer = ops.multiply(int32_constant(2), ops.maximum(given, resized))
    weights = _weights(contract, ops.divide(ops.convert(apart, "f32"), ops.convert(longer, "f32")))
    share = ops.divide(weights, ops.reduce_sum(weights, int64_constant([1]), keep_dims=True))
    whole = _halves_up(ops.multiply(share, _float(_COEFFICIENTS)))
    return ops.multiply(ops.divide(whole, _float(_COEFFICIENTS)), ops.convert(_inside(at, resized), "f32"))


def _places(begin: Any, wanted: int) -> Any:
    """Of the `wanted` positions from `begin` on in the resized image, int32 `(wanted, 1)`."""
    from openvino import opset13 as ops

    return ops.reshape(
        ops.add(int32_constant(np.arange(wanted)), begin), int64_constant([wanted, 1]), special_zero=False
    )


def _inside(at: Any, resized: Any) -> Any:
    """False where there is padding."""
    from openvino import opset13 as ops

    return ops.logical_and(ops.greater_equal(at, int32_constant(0)), ops.less(at, resized))


def _colored(planes: Any, color: tuple[int, int, int], axes: list[list[Any]], wanted: tuple[int, int]) -> Any:
    """With the colour of a letterbox where there is padding; `axes` are the `sizes` of `_coefficients`."""
    from openvino import opset13 as ops

    rows, columns = (
        _inside(_places(begin, side), resized) for (_, resized, begin), side in zip(axes, wanted, strict=True)
    )
    columns = ops.reshape(columns, int64_constant([1, wanted[1]]), special_zero=False)
    colors = ops.constant(np.asarray(color, np.float32).reshape(1, 3, 1, 1))
    return ops.select(ops.logical_and(rows, columns), planes, colors)


def _odd(place: Any) -> Any:
    """Twice the middle of a pixel: `2 * place + 1`."""
    from openvino import opset13 as ops

    return ops.add(ops.multiply(place, int32_constant(2)), int32_constant(1))


def _weights(contract: Preprocess, distance: Any) -> Any:
    """Pillow's filter of a distance from 0 up, float32; a resize to the same size has distances of whole numbers."""
    from openvino import opset13 as ops

    if contract.interpolation == "lanczos" and contract.resize != "none":
        window = ops.multiply(_sinc(distance), _sinc(ops.divide(distance, _float(3))))
        return ops.select(ops.less(distance, _float(3)), window, _float(0))
    if contract.interpolation != "bicubic" or contract.resize == "none":
        return ops.maximum(ops.subtract(_float(1), distance), _float(0))
    near = ops.subtract(ops.multiply(_float(1.5), distance), _float(2.5))
    near = ops.add(ops.multiply(ops.multiply(near, distance), distance), _float(1))
    far = ops.add(ops.multiply(ops.subtract(distance, _float(5)), distance), _float(8))
    far = ops.multiply(ops.subtract(ops.multiply(far, distance), _float(4)), _float(-0.5))
    far = ops.select(ops.less(distance, _float(2)), far, _float(0))
    return ops.select(ops.less(distance, _float(1)), near, far)


def _sinc(distance: Any) -> Any:
    from openvino import opset13 as ops

    angle = ops.multiply(distance, _float(math.pi))
    middle = ops.equal(distance, _float(0))
    return ops.select(middle, _float(1), ops.divide(ops.sin(angle), ops.select(middle, _float(1), angle)))


def _rounded(levels: Any) -> Any:
    """To whole levels from 0 to 255."""
    from openvino import opset13 as ops

    return ops.clamp(_halves_up(levels), 0.0, 255.0)


def _halves_up(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.floor(ops.add(value, _float(0.5)))


def _normalize(contract: Preprocess, levels: Any) -> Any:
    """`Preprocess.normalize` of levels, float32 `(1, 3, height, width)`."""
    from openvino import opset13 as ops

    planes = ops.divide(levels, _float(255))
    for kind, values in ((ops.subtract, contract.mean), (ops.divide, contract.std)):
        planes = kind(planes, ops.constant(np.asarray(values, np.float32).reshape(1, 3, 1, 1)))
    return planes
