"""What an export asks of an artifact that takes raw pixels: the answers of the artifact on tensors that it is made of,
on every evaluation image. Measures nothing: it is all in `image_input` of its record.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.metrics import agreement, top1
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.gate import GateResult

LEVELS = 1.0
"""Of 255, between the file's own pixels and Pillow's. ONNX's are Pillow's, OpenVINO's at most one level off on hardly
any pixel; red and blue exchanged are off by a hundred, another filter or size by tens."""
ONE_FLIP_OF = 1000
"""FP32 may answer one image in so many otherwise: two labels that are as probable change places with a level. INT8
crosses more of its steps, and is judged by its probabilities."""
PROBABILITY = {"fp32": 0.05}
PROBABILITY_ELSE = 0.25
"""The largest difference of a probability. MobileNetV2 on 736 photographs: FP32 0.009, INT8 0.051 where a level crosses
a step of its activations; with red and blue exchanged 0.89 and 0.80."""


def preprocessing_gates(artifact: ArtifactRecord) -> list[GateResult]:
    """The pixels, the answers (of FP32) and the probabilities; nothing for an artifact on tensors."""
    own = artifact.image_input
    if own is None:
        return []
    gates = [_gate("pixels", artifact, own.levels_max, LEVELS, "levels of 255")]
    if artifact.precision == "fp32":
        gates.append(_gate("loss", artifact, own.flips, own.n // ONE_FLIP_OF, "changed answers"))
    most = PROBABILITY.get(artifact.precision, PROBABILITY_ELSE)
    gates.append(_gate("loss", artifact, own.probability_diff_max, most, "of a probability"))
    return gates


def least_agreement(own: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """What FP32 must share of PyTorch's answers on golden images, logits `(n, classes)`: the host's share, and never
    less than all but one, since a level of a pixel changes no more."""
    return max(agreement(top1(own), top1(expected)), (len(own) - 1) / len(own))


def _gate(name: str, artifact: ArtifactRecord, measured: float, limit: float, unit: str) -> GateResult:
    assert artifact.image_input is not None
    passed = measured <= limit
    compared = f"preprocessing inside against outside, on {artifact.image_input.n} images"
    reason = (
        compared
        if passed
        else f"{compared}: {measured:.4g} {unit}, at most {limit:.4g}: the model resizes, crops, orders "
        "channels or normalizes otherwise than the contract. Export with --input tensor"
    )
    return GateResult(name, artifact.id, float(measured), float(limit), unit, passed, reason)
