"""The preprocessing contract as nodes of an OpenVINO model, a function for each step: as near to Pillow as OpenVINO's
own Pillow interpolation comes, one or two levels of 255 on few pixels.

The nodes are put in front of a finished model: no quantizer sees them. OpenVINO's CPU computes in 32 bits, too few for
Pillow's coefficients, so the exact graph of `onnx_pixels` would not be exact there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.onnx_pixels import IMAGE, PROBABILITIES

_MODES = {"bilinear": "bilinear_pillow", "bicubic": "bicubic_pillow"}


def take_raw_pixels(model: Any, contract: Preprocess) -> None:
    """Have `model`, whose input is float32 `(n, 3, H, W)` and whose output logits `(n, classes)`, take one image, uint8
    `(1, H, W, 3)` of any size, and give probabilities `(1, classes)`. Its own nodes stay as they are.

    Raises `EdgeTLError` for a contract that resizes in another way than bilinear or bicubic.
    """
    from openvino import opset13 as ops

    image, pixels = _pixel_nodes(contract)
    given, result = model.get_parameters()[0], model.get_results()[0]
    given.output(0).replace(_normalize(contract, pixels).output(0))
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

    image, pixels = _pixel_nodes(contract)
    return openvino.Model([pixels], [image], "pixels")


def _pixel_nodes(contract: Preprocess) -> tuple[Any, Any]:
    """The input, and the contract's steps up to the crop: uint8 `(1, height, width, 3)`. Raises `EdgeTLError`."""
    from openvino import opset13 as ops

    image = ops.parameter([1, -1, -1, 3], np.uint8, IMAGE)
    image.output(0).set_names({IMAGE})
    size = ops.gather(ops.shape_of(image), _int64([1, 2]), _int64(0))
    into = _resized_size(contract, size)
    pixels = image if contract.resize == "none" else _resize(contract, image, into)
    if contract.crop is not None:
        pixels = _crop(pixels, into, contract.crop)
    # Its size is known from here on, which the model behind it is compiled for.
    return image, ops.reshape(pixels, _int64([1, *contract.input_size, 3]), special_zero=False)


def _int64(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(value, np.int64))


def _resized_size(contract: Preprocess, given: Any) -> Any:
    """Height and width after the resize, int64 `(2,)`: `Preprocess._size_after_resize`."""
    from openvino import opset13 as ops

    if contract.resize == "none":
        return given
    if contract.resize == "exact":
        return _int64(contract.resize_size)
    if contract.resize == "letterbox":
        raise EdgeTLError("an OpenVINO model with a letterbox inside is not made. Resize outside the model")
    shorter = ops.reduce_min(given, _int64([0]), keep_dims=True)
    return ops.divide(ops.multiply(given, _int64([contract.resize_size[0]])), shorter)


def _resize(contract: Preprocess, image: Any, into: Any) -> Any:
    from openvino import opset11

    if contract.interpolation not in _MODES:
        raise EdgeTLError(
            f"an OpenVINO model with {contract.interpolation} resizing is not made: raw pixels are resized bilinear "
            "or bicubic. Resize outside the model"
        )
    mode = _MODES[contract.interpolation]
    return opset11.interpolate(image, into, mode, "sizes", axes=_int64([1, 2]), cube_coeff=-0.5)


def _crop(pixels: Any, size: Any, wanted: tuple[int, int]) -> Any:
    """`frame.centre_crop`: black around what is smaller, then a crop, halves to the even number."""
    from openvino import opset13 as ops

    whole, zero, two = _int64(wanted), _int64([0, 0]), _int64([2])
    lacking = ops.maximum(ops.subtract(whole, size), zero)
    over = ops.maximum(ops.subtract(size, whole), zero)
    before = ops.divide(lacking, two)
    pixels = _pad(pixels, before, ops.subtract(lacking, before))
    half = ops.divide(over, two)
    odd = ops.subtract(over, ops.multiply(half, two))
    begin = ops.add(half, ops.multiply(odd, ops.mod(half, two)))
    return ops.slice(pixels, begin, ops.add(begin, whole), _int64([1, 1]), _int64([1, 2]))


def _pad(pixels: Any, before: Any, after: Any) -> Any:
    """By so many rows and columns, int64 `(2,)`, of black."""
    from openvino import opset13 as ops

    none = _int64([0])
    begin, end = (ops.concat([none, each, none], 0) for each in (before, after))
    return ops.pad(pixels, begin, end, "constant", ops.constant(np.uint8(0)))


def _normalize(contract: Preprocess, pixels: Any) -> Any:
    """`Preprocess.normalize`: uint8 `(1, height, width, 3)` to float32 `(1, 3, height, width)`."""
    from openvino import opset13 as ops

    planes = ops.transpose(ops.convert(pixels, "f32"), _int64([0, 3, 1, 2]))
    planes = ops.divide(planes, ops.constant(np.float32(255)))
    for kind, values in ((ops.subtract, contract.mean), (ops.divide, contract.std)):
        planes = kind(planes, ops.constant(np.asarray(values, np.float32).reshape(1, 3, 1, 1)))
    return planes
