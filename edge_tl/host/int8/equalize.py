"""Cross-layer equalization: channels between two layers brought to like ranges without changing the function.

Where a convolution's channel goes into one other convolution alone, with nothing or a ReLU between them, dividing it by
a positive number and multiplying the other's weights for it by the same number changes nothing; chosen well, one range
serves all channels (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array


def equalize(prepared: Path, out: Path, rounds: int = 3) -> int:
    """Write the FP32 graph at `prepared` to `out` with every such pair equalized; returns how many there are."""
    model = onnx.load(str(prepared))
    constants = {i.name: i for i in model.graph.initializer}
    uses: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            uses[name].append(node)
    pairs = [
        (first, second)
        for first in model.graph.node
        if first.op_type == "Conv" and (second := _next(first, uses)) is not None and first.input[1] in constants
        and second.input[1] in constants and len(uses[first.input[1]]) == len(uses[second.input[1]]) == 1
    ]  # fmt: skip
    for _ in range(rounds):  # a layer is in two pairs: what helps one moves the other
        for first, second in pairs:
            before, after = (to_array(constants[node.input[1]]) for node in (first, second))
            group = next((a.i for a in second.attribute if a.name == "group"), 1)
            each = before.shape[0]
            if group not in (1, each):
                continue
            here = np.abs(before).reshape(each, -1).max(axis=1)
            there = np.abs(after).max(axis=tuple(range(1, after.ndim))) if group == each else _columns(after)
            usable = (here > 0) & (there > 0)
            factor = np.where(usable, np.sqrt(here / np.where(usable, there, 1.0)), 1.0).astype(np.float32)
            wide = factor.reshape(-1, *[1] * (before.ndim - 1))
            _put(constants, first.input[1], before / wide)
            if len(first.input) > 2:
                _put(constants, first.input[2], to_array(constants[first.input[2]]) / factor)
            _put(
                constants,
                second.input[1],
                after * (wide if group == each else factor.reshape(1, -1, *[1] * (after.ndim - 2))),
            )
    onnx.save_model(model, str(out))
    return len(pairs)


def _columns(weight: np.ndarray) -> np.ndarray:
    """The largest weight for each input channel."""
    others = tuple(axis for axis in range(weight.ndim) if axis != 1)
    largest: np.ndarray = np.abs(weight).max(axis=others)
    return largest


def _next(node: onnx.NodeProto, uses: dict[str, list[onnx.NodeProto]]) -> onnx.NodeProto | None:
    """The one convolution that reads `node`, through a ReLU or directly."""
    readers = uses[node.output[0]]
    if len(readers) == 1 and readers[0].op_type == "Relu":
        readers = uses[readers[0].output[0]]
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Conv" else None


def _put(constants: dict[str, onnx.TensorProto], name: str, values: np.ndarray) -> None:
    constants[name].CopyFrom(from_array(values.astype(np.float32), name))
