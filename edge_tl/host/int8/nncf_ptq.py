"""NNCF's own post-training quantization for OpenVINO: a rival to the Q/DQ graph, and its accuracy control.

It must not judge the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.host.export import save_openvino
from edge_tl.host.int8.qdq import SEVEN_BITS, Inputs, quiet
from edge_tl.target.contract import Preprocess
from edge_tl.target.machine import openvino_core

MOST = 300
"""Images that `quantize` should be given at most: full bias correction keeps activations of every fifth in memory."""


def quantize(
    fp32_xml: Path,
    out: Path,
    calibration: Inputs,
    contract: Preprocess,
    labels: list[str],
    storage: str,
    *,
    smoothed: bool = False,
) -> None:
    """MIXED preset (asymmetric activations), min-max ranges, full bias correction; weights in half their range where
    the CPU would saturate. `smoothed`: SmoothQuant before convolutions and products."""
    import nncf

    with quiet():
        model = nncf.quantize(
            openvino_core().read_model(fp32_xml),
            nncf.Dataset(_singles(calibration)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=False,
            advanced_parameters=_advanced(storage, smoothed=smoothed),
        )
    save_openvino(model, out, contract, labels)


def control_accuracy(
    fp32_xml: Path,
    out: Path,
    calibration: Inputs,
    selection: Inputs,
    answers: NDArray[np.int64],
    max_drop: float,
    contract: Preprocess,
    labels: list[str],
    storage: str,
) -> None:
    """NNCF returns layers to float, the most harmful first by its own ranking, until accuracy on the selection images
    has dropped by at most `max_drop` percentage points. Raises what NNCF raises."""
    import nncf

    def validate(model: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        right = []
        for image, label in items:
            logits = model([image])
            right.append(float(next(iter(logits.values())).argmax(1)[0] == label))
        return float(np.mean(right)), right

    with quiet():
        model = nncf.quantize_with_accuracy_control(
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
    save_openvino(model, out, contract, labels)


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
        overflow_fix=OverflowFix.ENABLE if storage == SEVEN_BITS else OverflowFix.DISABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        # A negative strength turns it off.
        smooth_quant_alphas=AdvancedSmoothQuantParameters(
            convolution=0.5 if smoothed else -1, matmul=0.5 if smoothed else -1
        ),
    )
