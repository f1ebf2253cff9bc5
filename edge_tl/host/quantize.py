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

from edge_tl.host.export import INPUT, add_metadata, save_openvino
from edge_tl.target.contract import Preprocess
from edge_tl.target.machine import has_vnni

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
        quantize_static(
            str(prepared),
            str(int8),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    graph = onnx.load(str(int8))
    unsigned = not has_vnni()
    if unsigned:
        _store_weights_unsigned(graph)
    graph.ir_version = onnx.load(str(fp32), load_external_data=False).ir_version
    add_metadata(graph, contract, labels)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save_model(graph, str(int8))
    weights = "uint8, zero point 128 (no VNNI here)" if unsigned else "int8"
    return {"method": "onnxruntime static QDQ", "weights": f"per channel, {weights}", "ranges": "min-max"}


def openvino_int8(
    fp32: Path, int8: Path, calibration: Inputs, contract: Preprocess, labels: list[str]
) -> dict[str, Any]:
    """NNCF post-training quantization, MIXED preset (asymmetric activations), full bias correction.

    `calibration` is float32 `(n, 3, H, W)`. Where the CPU has VNNI nothing saturates and the full range is
    used (`OverflowFix.DISABLE`); elsewhere NNCF halves the range of the first layer's weights. Returns the settings.
    """
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    overflow = OverflowFix.DISABLE if has_vnni() else OverflowFix.FIRST_LAYER
    with _quiet():
        model = nncf.quantize(
            openvino.Core().read_model(fp32),
            nncf.Dataset(list(calibration[:, None])),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=False,
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=overflow,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
    save_openvino(model, int8, contract, labels)
    return {
        "method": "nncf post-training",
        "preset": "mixed",
        "bias_correction": "full",
        "overflow_fix": overflow.value,
        "ranges": "min-max",
    }


def _store_weights_unsigned(graph: onnx.ModelProto) -> None:
    """Shift every INT8 initializer that is dequantized, and its zero points, by 128 into UINT8."""
    constants = {i.name: i for i in graph.graph.initializer}
    shifted = set()
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
