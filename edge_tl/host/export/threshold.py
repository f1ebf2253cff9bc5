"""What rejecting uncertain answers leaves, with the threshold as asked and with the one that restores the coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_tl.device.records.accuracy import ThresholdRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.export import calibration


@dataclass(frozen=True)
class ThresholdData:
    """Calibrated logits `(n, classes)` of PyTorch and one artifact on the images that fitted the temperature, and the
    artifact's on the evaluation images, whose classes are `labels`. Where those images are the same, `held_out_by` is
    the seed of the halves of which each is evaluated with the other's threshold, else None."""

    labels: calibration.Labels
    fitted_reference: Logits
    fitted: Logits
    evaluated: Logits
    held_out_by: int | None


def threshold_record(asked: float, data: ThresholdData, shown: NDArray[Any]) -> ThresholdRecord:
    """The threshold is restored on the images that fitted the temperature, and evaluated on the evaluation images;
    `shown` are the logits with which the threshold as asked is evaluated."""
    reference, own = calibration.confident(data.fitted_reference), calibration.confident(data.fitted)
    restored = calibration.restoring(asked, reference, own)
    if data.held_out_by is None:
        at_restored = calibration.coverage(data.labels, data.evaluated, restored)
    else:
        at_restored = calibration.held_out_coverage(
            asked, data.labels, data.fitted_reference, data.fitted, data.held_out_by
        )
    at_asked = calibration.coverage(data.labels, shown, asked)
    return ThresholdRecord(
        asked=asked,
        coverage=at_asked.coverage or 0.0,
        accuracy=at_asked.accuracy,
        restoring=restored,
        restored_coverage=at_restored.coverage,
        restored_accuracy=at_restored.accuracy,
    )
