"""The ladder's record as it stands in `report.json`: `artifact.quantization` and `artifact.ladder`.

Knows no model and imports no library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Fraction, Record

Positive = Annotated[float, Bounds(0)]


@dataclass(frozen=True)
class QuantizationRecord(Record):
    """How an INT8 file was made. `method` and `bias_correction` in words, `ranges` the estimator of activation ranges,
    `weights` their granularity and storage, `elementwise` the type of additions and multiplications between layers
    ("float", "uint8" or "int8"), `rescaled` how channels were rescaled before ("equalized", "smoothed" or null),
    `in_float` the names of layers left in float, `trained_epochs` the epochs of training in INT8. `target_cpu` is the
    CPU that the artifact is made for; candidates do not state it. `device_profile` is the compiler that it is made for:
    with "tensorrt" activations are int8 with zero points of 0."""

    method: str
    ranges: str
    calibration_images: int
    weights: str
    elementwise: str
    bias_correction: str
    rescaled: str | None
    in_float: tuple[str, ...]
    trained_epochs: Positive
    target_cpu: str | None = None
    device_profile: str | None = None


@dataclass(frozen=True)
class CappedDrop(Record):
    """What a candidate loses on the selection images where oneDNN is capped to the instruction set `cap`: percentage
    points, as of a `CandidateRecord`. `fault` says why it did not run there; the figures are then missing."""

    cap: str
    drop_pp: float | None = None
    drop_ci_pp: tuple[float, float] | None = None
    expected_drop_pp: float | None = None
    agreement: Fraction | None = None
    fault: str | None = None

    def keeps(self, allowed: float) -> bool:
        """Whether it ran there and keeps the budget of `allowed` percentage points, see `choice.keeps_budget`."""
        if self.expected_drop_pp is None or self.drop_ci_pp is None:
            return False
        return self.expected_drop_pp <= allowed and self.drop_ci_pp[0] <= allowed


@dataclass(frozen=True)
class CandidateRecord(Record):
    """What a candidate does on the selection images.

    `accuracy_ci` is Wilson's 95 % interval. `drop_pp` and `drop_ci_pp` are counted, in percentage points;
    `expected_drop_pp` and `expected_drop_ci_pp` are what FP32's own calibrated probabilities say of the answers that
    changed, see `metrics.expected_drop`. `divergence` is the mean Kullback-Leibler divergence of its answers from
    FP32's in nats. On the same images both order candidates that accuracy cannot. `latency_ms` is the median of a few
    calls, `size_mb` in 10^6 bytes, `float_macs` the fraction of the multiply-accumulates in float, null where NNCF
    chose the layers and does not say; `seconds` what making and evaluating it took. `may_saturate` names the layers
    whose sums a CPU without VNNI may cut, null where that is not known; `under_caps` is what was lost on lesser
    instruction sets, where that had to be measured.
    """

    accuracy: Fraction
    accuracy_ci: tuple[float, float]
    drop_pp: float
    drop_ci_pp: tuple[float, float]
    expected_drop_pp: float
    agreement: Fraction
    divergence: float
    latency_ms: Positive
    size_mb: Positive
    float_macs: Fraction | None
    seconds: Positive
    settings: QuantizationRecord
    may_saturate: tuple[str, ...] | None = None
    under_caps: tuple[CappedDrop, ...] = ()
    expected_drop_ci_pp: tuple[float, float] | None = None


@dataclass(frozen=True)
class RungRecord(Record):
    """One rung: its number and name, the minutes it took, every candidate, why others could not be made (`faults`), and
    the best candidate where there is one."""

    rung: int
    name: str
    minutes: Positive
    candidates: tuple[CandidateRecord, ...]
    faults: tuple[str, ...]
    best: CandidateRecord | None = None


@dataclass(frozen=True)
class LayerSensitivity(Record):
    """How far `layer` alone in INT8 moves the answers from FP32's: `divergence` in nats; `macs` is its fraction of the
    multiply-accumulates."""

    layer: str
    divergence: float
    macs: Fraction


@dataclass(frozen=True)
class LadderRecord(Record):
    """What the ladder of one runtime came to: whether a candidate keeps the budget, the reason, the candidate that was
    chosen, every rung that was tried, and the layers by sensitivity where they were measured. `requires` names
    instructions, any one of which a CPU must have for the candidate to keep the budget there; `selection_images` is how
    many images candidates were compared on."""

    passed: bool
    reason: str
    chosen: CandidateRecord
    rungs: tuple[RungRecord, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    requires: tuple[str, ...] = ()
    selection_images: int | None = None
