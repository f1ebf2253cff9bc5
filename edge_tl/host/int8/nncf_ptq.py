"""NNCF's own post-training quantization for both runtimes, an alternative to the Q/DQ graph; and its accuracy control.
Evaluates nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.machine import openvino_core
from edge_tl.host.convert import graph as graphs
from edge_tl.host.convert.model_file import Inputs, quiet
from edge_tl.host.int8.qdq import PAIR_SAFE, SEVEN_BITS
from edge_tl.host.int8.ranges import ABSORBED

MOST = 300
"""Images that `quantize_openvino` should be given at most: full bias correction holds activations of every fifth in
memory."""


def quantize_openvino(fp32_xml: Path, calibration: Inputs, storage: str, *, smoothed: bool = False) -> Any:
    """An INT8 `openvino.Model`: MIXED preset (asymmetric activations), min-max ranges, full bias correction; weights in
    half their range where the CPU would saturate. `smoothed`: SmoothQuant before convolutions and products."""
    import nncf

    with quiet():
        return nncf.quantize(
            openvino_core().read_model(fp32_xml),
            nncf.Dataset(_singles(calibration)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=False,
            advanced_parameters=_advanced(storage, smoothed=smoothed),
        )


def quantize_onnx(prepared: Path, out: Path, calibration: Inputs, storage: str) -> None:
    """The same for ONNX Runtime, as a Q/DQ graph that its kernels take.

    As NNCF writes it, ONNX Runtime ran it up to seven times slower than `quantize_static`'s graph: a Clip or ReLU
    stands between a convolution and its QuantizeLinear, and keeps them from becoming one integer kernel. The range of
    the latter does the same, to half a code, so they go. What NNCF leaves unrounded before a hard-swish stays so; how
    slow that is, the ladder measures. Bias correction is the fast one: the full one takes many times as long here, and
    the logits are corrected afterwards.
    """
    import nncf

    model = onnx.load(str(prepared))
    name = model.graph.input[0].name
    with quiet():
        model = nncf.quantize(
            model,
            nncf.Dataset(_singles(calibration), lambda image: {name: np.asarray(image)}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=True,
            advanced_parameters=_advanced(storage),
        )
    _fold_weights(model.graph)
    _absorb(model.graph)
    del model.graph.value_info[:]  # of types that later steps change
    onnx.save_model(model, str(out))


def control_accuracy(
    fp32_xml: Path,
    calibration: Inputs,
    selection: Inputs,
    answers: NDArray[np.int64],
    *,
    max_drop: float,
    storage: str,
) -> Any:
    """An INT8 `openvino.Model` of which NNCF returns layers to float, the most harmful first by its own ranking, until
    accuracy on the selection images has dropped by at most `max_drop` percentage points. Raises what NNCF raises."""
    import nncf

    def validate(model: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        right = []
        for image, label in items:
            logits = model([image])
            right.append(float(next(iter(logits.values())).argmax(1)[0] == label))
        return float(np.mean(right)), right

    with quiet():
        return nncf.quantize_with_accuracy_control(
            openvino_core().read_model(fp32_xml),
            calibration_dataset=nncf.Dataset(_singles(calibration)),
            validation_dataset=nncf.Dataset(list(zip(_singles(selection), answers, strict=True))),
            validation_fn=validate,
            max_drop=max_drop / 100,
            drop_type=nncf.DropType.ABSOLUTE,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=True,
            advanced_quantization_parameters=_advanced(storage),
        )


def _fold_weights(graph: onnx.GraphProto) -> None:
    """Weights as INT8 constants, where NNCF leaves them in float with a QuantizeLinear behind."""
    constants = graphs.constants(graph)
    folded = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in constants:
            continue
        weight, scale, zero = (onnx.numpy_helper.to_array(constants[key]) for key in node.input)
        axis = graphs.attribute(node, "axis", 1)
        along = [-1 if i == axis else 1 for i in range(weight.ndim)] if scale.ndim else []
        limits = np.iinfo(zero.dtype)
        codes = np.rint(weight / scale.reshape(along)) + zero.reshape(along)
        values = np.clip(codes, limits.min, limits.max).astype(zero.dtype)
        graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
        folded.append(node)
    for node in folded:
        graph.node.remove(node)


def _absorb(graph: onnx.GraphProto) -> None:
    """Take a Clip or ReLU away where all that reads it is a QuantizeLinear whose range ends where it cuts."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    readers = graphs.consumers(graph)
    for node in [each for each in graph.node if each.op_type in ABSORBED]:
        quantizers = readers[node.output[0]]
        if not quantizers or any(reader.op_type != "QuantizeLinear" for reader in quantizers):
            continue
        low, high = 0.0, np.inf
        if node.op_type == "Clip":  # either end may be left out
            low, high = -np.inf, np.inf
            names = [*node.input[1:], "", ""]
            if any(name and name not in constants for name in names):
                continue
            low = float(constants[names[0]]) if names[0] else low
            high = float(constants[names[1]]) if names[1] else high
        if all(_within(reader, constants, low, high) for reader in quantizers):
            for reader in quantizers:
                reader.input[0] = node.input[0]
            graph.node.remove(node)


def _within(quantizer: onnx.NodeProto, constants: dict[str, NDArray[Any]], low: float, high: float) -> bool:
    """Whether no value outside [low, high] would get a code more than half a step beyond."""
    scale, zero = constants[quantizer.input[1]], constants[quantizer.input[2]].astype(np.int64)
    limits = np.iinfo(constants[quantizer.input[2]].dtype)
    first, last = (limits.min - zero) * scale, (limits.max - zero) * scale  # a value, or one a channel
    return bool(np.all(first >= low - 0.51 * scale) and np.all(last <= high + 0.51 * scale))


def _singles(images: Inputs) -> list[Inputs]:
    """Views of one image each: nothing is copied."""
    return list(images[:, None])


def _advanced(storage: str, *, smoothed: bool = False) -> Any:
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.ENABLE if storage in (SEVEN_BITS, PAIR_SAFE) else OverflowFix.DISABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        # A negative strength turns it off.
        smooth_quant_alphas=AdvancedSmoothQuantParameters(
            convolution=0.5 if smoothed else -1, matmul=0.5 if smoothed else -1
        ),
    )
