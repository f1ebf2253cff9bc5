"""FP32 artifact and calibration inputs to INT8 artifact, for each runtime what it does best.

It must not choose images or judge the result.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.host.bundling.export import INPUT, add_metadata, save_openvino
from edge_tl.target.contract import Preprocess
from edge_tl.target.machine import has_vnni, openvino_core
from edge_tl.target.runtime import Logits, open_runtime

Inputs = NDArray[np.float32]


def onnx_int8(
    fp32: Path, int8: Path, calibration: Inputs, contract: Preprocess, labels: list[str]
) -> dict[str, Any]:
    """ONNX Runtime static QDQ: per-channel symmetric INT8 weights, asymmetric UINT8 activations, min-max ranges.

    `calibration` is float32 `(n, 3, H, W)`. On an x86 CPU without VNNI the kernels for UINT8 x INT8 add
    products in 16 bits and saturate (onnxruntime, docs "Quantize ONNX models"); there the same weights are stored as
    UINT8 with zero point 128, numerically the same, whose kernels do not saturate. Returns the settings.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        ranges = _saturated_ranges(onnx.load(str(prepared)), calibration)
        quantize_static(
            str(prepared),
            str(int8),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # The logits stay float: eight bits over their whole range would decide close calls by rounding.
            extra_options={"TensorQuantOverrides": ranges, "OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    graph = onnx.load(str(int8))
    unsigned = not has_vnni()
    if unsigned:
        _store_weights_unsigned(graph)
    graph.ir_version = onnx.load(str(fp32), load_external_data=False).ir_version
    add_metadata(graph, contract, labels)
    onnx.save_model(graph, str(int8))
    _shift_onnx_bias(graph, _mean_difference(_logits(fp32, calibration), _logits(int8, calibration)))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save_model(graph, str(int8))
    weights = "uint8, zero point 128 (no VNNI here)" if unsigned else "int8"
    return {
        "method": "onnxruntime static QDQ",
        "weights": f"per channel, {weights}",
        "ranges": "min-max",
        "bias_correction": "logits",
    }


def openvino_int8(
    fp32: Path, int8: Path, calibration: Inputs, contract: Preprocess, labels: list[str]
) -> dict[str, Any]:
    """NNCF post-training quantization, MIXED preset (asymmetric activations), full bias correction.

    `calibration` is float32 `(n, 3, H, W)`. Where the CPU has VNNI nothing saturates and the full range of the
    weights is used (`OverflowFix.DISABLE`). Elsewhere halving it costs resolution and not halving it costs
    overflows, and which is worse depends on the model: both are made, and the one whose logits on the
    calibration images are nearer to FP32's is kept. Returns the settings.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    tries = [OverflowFix.DISABLE] if has_vnni() else [OverflowFix.FIRST_LAYER, OverflowFix.ENABLE]
    errors: dict[str, float] = {}
    expected = _logits(fp32, calibration)
    for overflow in tries:
        with _quiet():
            model = nncf.quantize(
                openvino_core().read_model(fp32),
                nncf.Dataset(list(calibration[:, None])),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration),
                fast_bias_correction=False,
                advanced_parameters=AdvancedQuantizationParameters(
                    overflow_fix=overflow,
                    activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                ),
            )
        candidate = int8.with_name(f"{int8.stem}.{overflow.value}.xml")
        save_openvino(model, candidate, contract, labels)
        _shift_openvino_bias(model, _mean_difference(expected, _logits(candidate, calibration)))
        save_openvino(model, candidate, contract, labels)
        if len(tries) > 1:
            errors[overflow.value] = float(np.mean((_logits(candidate, calibration) - expected) ** 2))
    best = min(errors, key=lambda name: errors[name]) if errors else tries[0].value
    for overflow in tries:
        candidate = int8.with_name(f"{int8.stem}.{overflow.value}.xml")
        for suffix in (".xml", ".bin"):
            if overflow.value == best:
                candidate.with_suffix(suffix).replace(int8.with_suffix(suffix))
            else:
                candidate.with_suffix(suffix).unlink()
    return {
        "method": "nncf post-training",
        "preset": "mixed",
        "bias_correction": "full, then logits",
        "overflow_fix": best,
        "overflow_fix_errors": errors,
        "ranges": "min-max",
    }


def _logits(path: Path, inputs: Inputs) -> Logits:
    """`(n, classes)` of a model file, one image a call, as a device runs it."""
    runtime = open_runtime(path)
    return np.concatenate([runtime(image[None]) for image in inputs])


def _mean_difference(fp32: Logits, int8: Logits) -> NDArray[np.float64]:
    """What to add to INT8 logits, per class, so that their mean is FP32's: `(n, classes)` to `(classes,)`.

    Rounding errors do not average out through a network; they arrive at the head as a shift. Measured through
    the kernels of this machine, it includes what they saturate (empirical bias correction, Nagel et al.,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, at the last layer).
    """
    shift: NDArray[np.float64] = np.mean(fp32 - int8, axis=0, dtype=np.float64)
    return shift


def _shift_onnx_bias(graph: onnx.ModelProto, shift: NDArray[np.float64]) -> None:
    """Add `shift` to the bias of the last Gemm, whether it is float or quantized to int32."""
    constants = {i.name: i for i in graph.graph.initializer}
    makers = {name: node for node in graph.graph.node for name in node.output}
    head = [node for node in graph.graph.node if node.op_type == "Gemm"][-1]
    bias, step = head.input[2], np.ones(1)
    if bias not in constants:
        dequantize = makers[bias]
        bias, step = dequantize.input[0], onnx.numpy_helper.to_array(constants[dequantize.input[1]])
    values = onnx.numpy_helper.to_array(constants[bias])
    moved = values + (np.rint(shift / step) if values.dtype == np.int32 else shift)
    constants[bias].CopyFrom(onnx.numpy_helper.from_array(moved.astype(values.dtype), bias))


def _shift_openvino_bias(model: Any, shift: NDArray[np.float64]) -> None:
    """Add `shift` to the constant that the model adds last."""
    import openvino

    node = model.get_results()[0].input_value(0).get_node()
    port = next(p for p in node.inputs() if p.get_source_output().get_node().get_type_name() == "Constant")
    old = port.get_source_output().get_node()
    moved = (old.get_data() + shift.reshape(old.get_data().shape)).astype(np.float32)
    port.replace_source_output(openvino.opset8.constant(moved).output(0))


def _saturated_ranges(graph: onnx.ModelProto, calibration: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Ranges cut to where the activation that follows still changes, for tensors quantized before it.

    ONNX Runtime has no fused INT8 hard-swish, so a convolution's output is quantized twice, before and after.
    Below -3 hard-swish is 0 and outside [-3, 3] hard-sigmoid is constant: codes spent there are lost.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    bounds: dict[str, tuple[float, float]] = {}
    for node in graph.graph.node:
        followers = {follower.op_type: follower for follower in readers.get(node.output[0], [])}
        if node.op_type != "Conv":
            continue
        if set(followers) == {"HardSwish"}:
            bounds[node.output[0]] = (-3.0, np.inf)
        elif "HardSigmoid" in followers:
            gate = followers.pop("HardSigmoid")
            slope = {a.name: a.f for a in gate.attribute}
            alpha, beta = slope.get("alpha", 0.2), slope.get("beta", 0.5)
            if not followers:
                bounds[node.output[0]] = (-beta / alpha, (1 - beta) / alpha)
            elif set(followers) == {"Mul"} and gate.output[0] in followers["Mul"].input:
                bounds[node.output[0]] = (-beta / alpha, np.inf)  # hard-swish, written out
    if not bounds:
        return {}
    seen = _extremes(graph, list(bounds), calibration)
    return {
        name: [{"rmin": np.float32(max(seen[name][0], low)), "rmax": np.float32(min(seen[name][1], high))}]
        for name, (low, high) in bounds.items()
    }


def _extremes(graph: onnx.ModelProto, names: list[str], inputs: Inputs) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor in `names` over all inputs."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    for name in names:
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for image in inputs:
        values = session.run(names, {INPUT: image[None]})
        low = np.minimum(low, [v.min() for v in values])
        high = np.maximum(high, [v.max() for v in values])
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _store_weights_unsigned(graph: onnx.ModelProto) -> None:
    """Shift every INT8 initializer that is dequantized, and its zero points, by 128 into UINT8."""
    constants = {i.name: i for i in graph.graph.initializer}
    shifted: set[str] = set()
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        if constants[node.input[0]].data_type != onnx.TensorProto.INT8:
            continue
        for name in {node.input[0], node.input[2]} - shifted:
            values = onnx.numpy_helper.to_array(constants[name]).astype(np.int16) + 128
            constants[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.uint8), name))
            shifted.add(name)


class _Reader:
    """One image at a time, so that calibration memory does not grow with the batch."""

    def __init__(self, calibration: Inputs) -> None:
        self._rest = iter(calibration)

    def get_next(self) -> dict[str, Inputs] | None:
        image = next(self._rest, None)
        return None if image is None else {INPUT: image[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both quantizers talk on stdout and through loggers; stdout belongs to `--json`."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
