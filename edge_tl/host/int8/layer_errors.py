"""How much of each layer's output is quantization noise: the ratio of FP32's output to INT8's difference from it.

Errors accumulate: a layer's noise holds that of all before it. Chooses nothing. `rank_layers` measures something else,
what each layer alone does to the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.records.artifact import LayerError
from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert import graph as graphs
from edge_tl.host.convert.fp32 import INPUT
from edge_tl.host.int8.ranges import ABSORBED, saturated

MOST_DB = 120.0  # beyond it is float's own rounding


def layer_errors(fp32: Path, int8: Path, inputs: NDArray[np.float32]) -> list[LayerError]:
    """In the order of the network, of the layers whose output is in both files: the ratio in decibels of the power of
    FP32's output to that of its difference from INT8's, over `inputs` `(n, 3, H, W)`. A layer that both compute alike
    has 120 dB."""
    whole, rounded = onnx.load(str(fp32)), onnx.load(str(int8))
    bounds = saturated(whole)
    # A gate, cut on both sides, is computed on codes, which nothing in FP32 corresponds to.
    gates = {name for name, (_, high) in bounds.items() if np.isfinite(high)}
    pairs = [pair for pair in _pairs(whole.graph, rounded.graph) if pair[1] not in gates]
    if not pairs:
        return []
    expected = _Outputs(whole, [one for _, one, _ in pairs])
    own = _Outputs(rounded, [other for _, _, other in pairs])
    signal, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    for image in inputs:
        for i, (a, b) in enumerate(zip(expected(image[None]), own(image[None]), strict=True)):
            if a.shape != b.shape:  # channels were added so that kernels fit
                signal[i] = np.nan
                continue
            if (
                ends := bounds.get(pairs[i][1])
            ) is not None:  # beyond them all values are one to the next layer
                a, b = np.clip(a, *ends), np.clip(b, *ends)
            signal[i] += _power(a)
            noise[i] += _power(a - b)
    return [
        LayerError(name, round(_decibels(s, n), 2))
        for (name, _, _), s, n in zip(pairs, signal, noise, strict=True)
        if np.isfinite(s) and s > 0
    ]


def _pairs(whole: onnx.GraphProto, rounded: onnx.GraphProto) -> list[tuple[str, str, str]]:
    """Of each layer that is in both graphs its name, and what its output is called in the one and in the other: after
    the activation where that became a range of the rounding, and after the rounding."""
    after, after_rounded = graphs.consumers(whole), graphs.consumers(rounded)
    there = {node.name: node for node in rounded.node}
    found = []
    for node in whole.node:
        if node.op_type not in MATRIX_OPERATORS or node.name not in there:
            continue
        output, users = node.output[0], after[node.output[0]]
        if len(users) == 1 and users[0].op_type in ABSORBED and users[0].name not in there:
            output = users[0].output[0]
        found.append((_layer(node), output, _after_rounding(there[node.name].output[0], after_rounded)))
    return found


def _layer(node: onnx.NodeProto) -> str:
    """By its weight, as PyTorch calls it, where the file does too."""
    name, suffix = node.input[1], ".weight"
    return str(name.removesuffix(suffix) if name.endswith(suffix) else node.name)


def _after_rounding(name: str, after: Mapping[str, Sequence[Any]]) -> str:
    """What the next layer is given of it."""
    for rounding in after[name]:
        if rounding.op_type != "QuantizeLinear":
            continue
        for back in after[rounding.output[0]]:
            # With another scale the same codes are a HardSigmoid's.
            if back.op_type == "DequantizeLinear" and back.input[1:] == rounding.input[1:]:
                return str(back.output[0])
    return name


class _Outputs:
    """Some tensors of a graph, image by image."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        import onnxruntime

        there = {output.name for output in model.graph.output}
        for name in dict.fromkeys(names):
            if name not in there:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._names = list(names)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = self._session.run(self._names, {INPUT: inputs})
        return found


def _power(values: NDArray[np.float32]) -> float:
    flat = values.reshape(-1)
    return float(flat @ flat)


def _decibels(signal: float, noise: float) -> float:
    return float(min(10 * np.log10(signal / noise), MOST_DB)) if noise else MOST_DB
