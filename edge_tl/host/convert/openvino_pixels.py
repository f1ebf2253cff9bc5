"""The preprocessing contract as nodes of an OpenVINO model, a function for each step: a level of 255 from Pillow at
most, on hardly any pixel.

Each of Pillow's two passes is a product of matrices, with 8 bits between them. OpenVINO has Pillow's resize as an
operator too (Interpolate, "bilinear_pillow"): it prepares half a second for every new size of an image, takes twice as
long, and comes within two levels. Distances are computed in whole numbers, since OpenVINO's CPU has no doubles.

The nodes are put in front of a finished model: no quantizer sees them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.matrix_layers import PIXEL_NODES
from edge_tl.host.convert.onnx_pixels import IMAGE, PROBABILITIES

_COEFFICIENTS = 2.0**22  # Pillow's have 22 bits after the binary point


def take_raw_pixels(model: Any, contract: Preprocess) -> None:
    """Have `model`, whose input is float32 `(n, 3, H, W)` and whose output logits `(n, classes)`, take one image, uint8
    `(1, H, W, 3)` of any size, and give probabilities `(1, classes)`. Its own nodes stay as they are.

    Raises `EdgeTLError` for a contract that resizes in another way than bilinear or bicubic.
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
    pixels = ops.convert(ops.transpose(levels, _int64([0, 2, 3, 1])), "u8")
    return openvino.Model([pixels], [image], "pixels")


def _level_nodes(contract: Preprocess) -> tuple[Any, Any]:
    """The input, and the contract's steps up to the crop: whole levels, float32 `(1, 3, height, width)`. Raises
    `EdgeTLError`."""
    from openvino import opset13 as ops

    _check_made(contract)
    image = ops.parameter([1, -1, -1, 3], np.uint8, IMAGE)
    image.output(0).set_names({IMAGE})
    given = ops.convert(ops.gather(ops.shape_of(image), _int64([1, 2]), _int64(0)), "i32")
    resized = _resized_size(contract, given)
    begin = _crop_begin(resized, contract.input_size)
    rows, columns = (
        _coefficients(
            contract,
            [ops.gather(each, _int64([axis]), _int64(0)) for each in (given, resized, begin)],
            wanted,
        )
        for axis, wanted in enumerate(contract.input_size)
    )
    planes = ops.convert(ops.transpose(image, _int64([0, 3, 1, 2])), "f32")
    planes = _rounded(ops.matmul(planes, columns, False, True, name=f"{PIXEL_NODES}columns"))
    planes = _rounded(ops.matmul(rows, planes, False, False, name=f"{PIXEL_NODES}rows"))
    # Its size is known from here on, which the model behind it is compiled for.
    return image, ops.reshape(planes, _int64([1, 3, *contract.input_size]), special_zero=False)


def _check_made(contract: Preprocess) -> None:
    """Raises `EdgeTLError`."""
    if contract.resize == "letterbox":
        raise EdgeTLError("an OpenVINO model with a letterbox inside is not made. Resize outside the model")
    if contract.resize != "none" and contract.interpolation not in ("bilinear", "bicubic"):
        raise EdgeTLError(
            f"an OpenVINO model with {contract.interpolation} resizing is not made: raw pixels are resized bilinear "
            "or bicubic. Resize outside the model"
        )


def _int64(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(value, np.int64))


def _int32(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(value, np.int32))


def _float(value: float) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.float32(value))


def _resized_size(contract: Preprocess, given: Any) -> Any:
    """Height and width after the resize, int32 `(2,)`: `Preprocess._size_after_resize`."""
    from openvino import opset13 as ops

    if contract.resize == "none":
        return given
    if contract.resize == "exact":
        return _int32(contract.resize_size)
    shorter = ops.reduce_min(given, _int64([0]), keep_dims=True)
    return ops.divide(ops.multiply(given, _int32([contract.resize_size[0]])), shorter)


def _crop_begin(size: Any, wanted: tuple[int, int]) -> Any:
    """Where the crop begins in the resized image, int32 `(2,)`, halves to the even number; negative where it is padded:
    `frame.centre_crop`."""
    from openvino import opset13 as ops

    zero, two = _int32([0, 0]), _int32([2])
    over = ops.maximum(ops.subtract(size, _int32(wanted)), zero)
    half = ops.divide(over, two)
    odd = ops.subtract(over, ops.multiply(half, two))
    lacking = ops.maximum(ops.subtract(_int32(wanted), size), zero)
    return ops.subtract(ops.add(half, ops.multiply(odd, ops.mod(half, two))), ops.divide(lacking, two))


def _coefficients(contract: Preprocess, sizes: list[Any], wanted: int) -> Any:
    """Pillow's, of the `wanted` positions of one axis for all of its pixels, float32 `(wanted, given)`; 0 where there
    is padding. `sizes`, int32 `(1,)` each: the axis' length, its length after the resize, where the crop begins."""
    from openvino import opset13 as ops

    given, resized, begin = sizes
    at = ops.reshape(ops.add(_int32(np.arange(wanted)), begin), _int64([wanted, 1]), special_zero=False)
    inside = ops.logical_and(ops.greater_equal(at, _int32(0)), ops.less(at, resized))
    pixels = ops.range(_int32(0), ops.squeeze(given, _int64([0])), _int32(1), "i32")
    # (j + 0.5 - (i + 0.5) * given / resized) / max(given / resized, 1), all of it times twice the longer side; from the
    # middle of the axis on, where the crop is: from its ends on, a strip's products leave 32 bits.
    from_middle = ops.subtract(_odd(pixels), given)
    before_middle = ops.subtract(resized, _odd(at))  # within `wanted` of 0
    scale = ops.divide(given, resized)
    far = ops.add(ops.divide(ops.multiply(given, _int32(wanted)), resized), ops.multiply(scale, _int32(4)))
    far = ops.add(far, _int32(10))  # what is farther has no weight for any position
    from_middle = ops.maximum(ops.minimum(from_middle, far), ops.negative(far))
    apart = ops.abs(ops.add(ops.multiply(from_middle, resized), ops.multiply(before_middle, given)))
    longer = ops.multiply(_int32(2), ops.maximum(given, resized))
    weights = _weights(contract, ops.divide(ops.convert(apart, "f32"), ops.convert(longer, "f32")))
    share = ops.divide(weights, ops.reduce_sum(weights, _int64([1]), keep_dims=True))
    whole = _halves_up(ops.multiply(share, _float(_COEFFICIENTS)))
    return ops.multiply(ops.divide(whole, _float(_COEFFICIENTS)), ops.convert(inside, "f32"))


def _odd(place: Any) -> Any:
    """Twice the middle of a pixel: `2 * place + 1`."""
    from openvino import opset13 as ops

    return ops.add(ops.multiply(place, _int32(2)), _int32(1))


def _weights(contract: Preprocess, distance: Any) -> Any:
    """Pillow's filter of a distance from 0 up, float32; a resize to the same size has distances of whole numbers."""
    from openvino import opset13 as ops

    if contract.interpolation != "bicubic" or contract.resize == "none":
        return ops.maximum(ops.subtract(_float(1), distance), _float(0))
    near = ops.subtract(ops.multiply(_float(1.5), distance), _float(2.5))
    near = ops.add(ops.multiply(ops.multiply(near, distance), distance), _float(1))
    far = ops.add(ops.multiply(ops.subtract(distance, _float(5)), distance), _float(8))
    far = ops.multiply(ops.subtract(ops.multiply(far, distance), _float(4)), _float(-0.5))
    far = ops.select(ops.less(distance, _float(2)), far, _float(0))
    return ops.select(ops.less(distance, _float(1)), near, far)


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
