"""The settings of an INT8 candidate: all in which two of them differ. Makes none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from edge_tl.host.int8.records import QuantizationRecord

QDQ, NNCF, CONTROLLED = "qdq", "nncf", "nncf accuracy control"
EQUALIZED, SMOOTHED = "equalized", "smoothed"
TENSORRT = "tensorrt"
_METHODS = {  # what is recorded: the method, and its bias correction
    QDQ: ("Q/DQ", "logits"),
    NNCF: ("NNCF post-training, MIXED", "full"),
    CONTROLLED: ("NNCF accuracy control, MIXED", "fast"),
}


@dataclass(frozen=True)
class CandidateSettings:
    """`runtime` is "onnx" or "openvino", `method` one of `QDQ`, `NNCF`, `CONTROLLED`, `estimator` one of
    `ranges.ESTIMATORS`, `images` the count of calibration images, `storage` how weights are stored (see
    `qdq.weight_storage`). `matrix_only` leaves additions, multiplications and pooling between the layers in float;
    `rescaled` names how channels were rescaled before (`EQUALIZED`, `SMOOTHED` or ""); `excluded` names layers left in
    float; `epochs` are those of training in INT8; `symmetric` as of `qdq.QdqOptions`."""

    runtime: str
    method: str
    estimator: str
    images: int
    storage: str
    matrix_only: bool
    excluded: frozenset[str] = frozenset()
    rescaled: str = ""
    epochs: int = 0
    symmetric: bool = False

    @property
    def computation(self) -> CandidateSettings:
        """Itself without what changes only the constants of the graph: ranges, calibration images, training."""
        return replace(self, estimator="", images=0, epochs=0)

    def record(self, trained_epochs: float) -> QuantizationRecord:
        """For the report; `trained_epochs` are those that the time allowed."""
        method, correction = _METHODS[self.method]
        if self.method == NNCF and self.runtime == "onnx":
            correction = "fast, logits"
        return QuantizationRecord(
            method=method,
            ranges=self.estimator,
            calibration_images=self.images,
            weights=f"per channel, {self.storage}",
            elementwise="float" if self.matrix_only else "int8" if self.symmetric else "uint8",
            bias_correction=correction,
            rescaled=self.rescaled or None,
            in_float=tuple(sorted(self.excluded)),
            trained_epochs=trained_epochs,
            device_profile=TENSORRT if self.symmetric else None,
        )

    def with_float_layers(self, names: Collection[str]) -> CandidateSettings:
        """With these layers in float as well."""
        return replace(self, excluded=self.excluded | set(names))
