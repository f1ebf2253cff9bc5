"""Channels between two layers brought to like ranges without changing the function.

Where a convolution's channel goes into one other convolution alone, with nothing or a ReLU between them, dividing it by
a positive number and multiplying the other's weights for it by the same number changes nothing. Cross-layer
equalization chooses the numbers by both layers' weights (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", 2019), SmoothQuant by the activation between them and the second's (Xiao et al.,
"SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023, equation 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import from_array, to_array

from edge_tl.host.convert import graph as graphs
from edge_tl.host.convert.fp32 import INPUT

_ALPHA = 0.5  # the paper's: how much of the difficulty moves from the activation to the weights


def equalize(prepared: Path, out: Path, rounds: int = 3) -> int:
    """Write the FP32 graph at `prepared` to `out` with every such pair equalized; returns how many there are."""
    model = onnx.load(str(prepared))
    pairs = _pairs(model)
    constants = graphs.constants(model.graph)
    for _ in range(rounds):  # a layer is in two pairs: what helps one moves the other
        for first, second in pairs:
            before = to_array(constants[first.input[1]])
            here = np.abs(before).reshape(len(before), -1).max(axis=1)
            _move(constants, first, second, _root(here, _inputs(constants, second)))
    onnx.save_model(model, str(out))
    return len(pairs)


def smooth(prepared: Path, out: Path, images: NDArray[np.float32]) -> int:
    """Write the FP32 graph at `prepared` to `out` with every such pair smoothed; returns how many there are. `images`
    is float32 `(n, 3, H, W)`: they show how large each channel gets."""
    import onnxruntime

    model = onnx.load(str(prepared))
    pairs = _pairs(model)
    between = list(dict.fromkeys(second.input[0] for _, second in pairs))
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    for name in between:
        shown.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    largest: dict[str, NDArray[np.float32]] = {}
    for image in images if between else ():
        for name, value in zip(between, session.run(between, {INPUT: image[None]}), strict=True):
            channels = np.abs(value).max(axis=(0, 2, 3))
            largest[name] = np.maximum(largest.get(name, channels), channels)
    constants = graphs.constants(model.graph)
    for first, second in pairs:
        there = _inputs(constants, second)
        _move(constants, first, second, _root(largest[second.input[0]], there))
    onnx.save_model(model, str(out))
    return len(pairs)


def _pairs(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    constants, uses = graphs.constants(model.graph), graphs.consumers(model.graph)
    found = []
    for first in model.graph.node:
        second = _next(first, uses) if first.op_type == "Conv" and first.input[1] in constants else None
        if second is None or second.input[1] not in constants:
            continue
        alone = len(uses[first.input[1]]) == len(uses[second.input[1]]) == 1
        channels = constants[first.input[1]].dims[0]
        if alone and _groups(second) in (1, channels):
            found.append((first, second))
    return found


def _root(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The factor between two ranges, 1 where a channel is zero throughout."""
    usable = (a > 0) & (b > 0)
    factor = np.where(usable, a, 1.0) ** _ALPHA / np.where(usable, b, 1.0) ** (1 - _ALPHA)
    return np.where(usable, factor, 1.0).astype(np.float32)


def _move(
    constants: dict[str, onnx.TensorProto],
    first: onnx.NodeProto,
    second: onnx.NodeProto,
    factor: NDArray[np.float32],
) -> None:
    """Divide the first's output channels by `factor`, multiply the second's weights for them by it."""
    before, after = (to_array(constants[node.input[1]]) for node in (first, second))
    _put(constants, first.input[1], before / factor.reshape(-1, *[1] * (before.ndim - 1)))
    if len(first.input) > 2:
        _put(constants, first.input[2], to_array(constants[first.input[2]]) / factor)
    depthwise = _groups(second) == len(factor) and _groups(second) > 1
    shape = (-1, *[1] * (after.ndim - 1)) if depthwise else (1, -1, *[1] * (after.ndim - 2))
    _put(constants, second.input[1], after * factor.reshape(shape))


def _groups(node: onnx.NodeProto) -> int:
    return int(graphs.attribute(node, "group", 1))


def _inputs(constants: dict[str, onnx.TensorProto], node: onnx.NodeProto) -> NDArray[np.float32]:
    """The largest weight for each input channel."""
    weight = np.abs(to_array(constants[node.input[1]]))
    kept = 0 if _groups(node) > 1 else 1
    largest: NDArray[np.float32] = weight.max(axis=tuple(axis for axis in range(weight.ndim) if axis != kept))
    return largest


def _next(node: onnx.NodeProto, uses: Mapping[str, list[onnx.NodeProto]]) -> onnx.NodeProto | None:
    """The one convolution that reads `node`, through a ReLU or directly."""
    readers = uses[node.output[0]]
    if len(readers) == 1 and readers[0].op_type == "Relu":
        readers = uses[readers[0].output[0]]
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Conv" else None


def _put(constants: dict[str, onnx.TensorProto], name: str, values: np.ndarray) -> None:
    constants[name].CopyFrom(from_array(values.astype(np.float32), name))
