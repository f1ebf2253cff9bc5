"""What a candidate does on the selection images, beside FP32. Makes and chooses none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from edge_tl.device import metrics
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.runtimes.open import Logits, open_runtime
from edge_tl.host.convert.model_file import Inputs, batched_logits, size_mb
from edge_tl.host.int8.records import CandidateRecord, QuantizationRecord


@dataclass(frozen=True)
class SelectionSet:
    """`images` are float32 `(n, 3, H, W)`, `labels` `(n,)`, `fp32` the logits of FP32 `(n, classes)`; `temperature`
    divides those before their probabilities are believed."""

    images: Inputs
    labels: NDArray[np.int64]
    fp32: Logits
    temperature: float


def evaluate_candidate(
    path: Path,
    selection: SelectionSet,
    *,
    settings: QuantizationRecord,
    float_macs: float | None,
    began: float,
) -> CandidateRecord:
    """The record of the artifact at `path`; `began` is when its making began, by `perf_counter`. Raises `EdgeTLError`
    for logits that are not numbers."""
    logits = batched_logits(path, selection.images)
    if lost := metrics.not_numbers(logits):
        raise EdgeTLError(f"logits that are not numbers on {lost} of {len(logits)} selection images")
    expected, answers = metrics.top1(selection.fp32), metrics.top1(logits)
    drop = metrics.paired_drop(selection.labels, expected, answers)
    correct = int(np.sum(answers == selection.labels))
    low, high = binomtest(correct, len(answers)).proportion_ci(method="wilson")
    believed = calibrated_expected_drop(selection.fp32, selection.temperature, answers)
    return CandidateRecord(
        accuracy=metrics.accuracy(selection.labels, answers),
        accuracy_ci=(float(low), float(high)),
        drop_pp=drop.drop_pp,
        drop_ci_pp=drop.drop_ci_pp,
        expected_drop_pp=believed.drop_pp,
        expected_drop_ci_pp=believed.drop_ci_pp,
        agreement=metrics.agreement(expected, answers),
        divergence=metrics.divergence(selection.fp32, logits),
        latency_ms=_median_ms(path, np.asarray(selection.images[:1])),
        size_mb=size_mb(path),
        float_macs=float_macs,
        seconds=perf_counter() - began,
        settings=settings,
    )


def calibrated_expected_drop(fp32: Logits, temperature: float, answers: metrics.Ints) -> metrics.ExpectedDrop:
    """What `answers` `(n,)` are expected to lose by FP32's calibrated probabilities, see
    `metrics.expected_drop`; `fp32` are its logits `(n, classes)`."""
    return metrics.expected_drop(fp32 / np.float32(temperature), answers)


def _median_ms(path: Path, image: Inputs, calls: int = 40) -> float:
    """Of one image: enough to see kernels that fell back to float; the artifact that is shipped is timed on its own."""
    runtime = open_runtime(path)
    times = []
    for _ in range(calls):
        begun = perf_counter()
        runtime(image)
        times.append(perf_counter() - begun)
    return 1000 * float(np.median(times[5:]))
