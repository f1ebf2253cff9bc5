"""Metrics of a classifier's answers, and of a cross-validation. Sees no images and no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics as device_metrics
from edge_tl.device.errors import BadInput
from edge_tl.device.records.accuracy import ConfidenceBin, Confusion, SparseConfusion
from edge_tl.host.images.findings import SplitName
from edge_tl.host.runs.record import ClassMetrics, FoldsRecord, MetricsRecord

BINS = 15  # of the calibration error, as in Guo et al.


def classification_metrics(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    names: Sequence[str],
    *,
    split: SplitName,
    chosen_on_same_images: bool,
) -> MetricsRecord:
    """Everything a run reports about `(n,)` labels and `(n, classes)` logits of `split`, through scikit-learn.

    Fractions in [0, 1]: `accuracy`; `accuracy_ci`, its 95 % interval [low, high] over the choice of images (Wilson,
    "Probable Inference, the Law of Succession, and Statistical Inference", 1927); `top5` (None with five classes or
    fewer, where it would say nothing); `macro_*` (every class weighs the same, one without images too); `ece`.
    `log_loss` is the mean cross entropy in nats. A class that is never answered has precision 0, one
    without images recall 0.
    Raises `BadInput` without images and for logits that are not finite.
    """
    if not len(labels):
        raise BadInput("nothing to evaluate: 0 labelled images. Keep some back, e.g. --set data.val=0.15.")
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        raise BadInput(
            f"the model's answers are not numbers on {bad} of {len(labels)} images. Lower the learning rate."
        )
    # Its import costs a second, and most verbs need no metric.
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        log_loss,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    classes = list(range(len(names)))
    answers, probabilities = logits.argmax(axis=1), device_metrics.softmax(logits)
    rows = precision_recall_fscore_support(labels, answers, labels=classes, zero_division=0)
    precision, recall, f1, counts = rows
    top5 = float(top_k_accuracy_score(labels, logits, k=5, labels=classes)) if len(names) > 5 else None
    return MetricsRecord(
        split=split,
        n=len(labels),
        accuracy=float(accuracy_score(labels, answers)),
        accuracy_ci=device_metrics.wilson_interval(int((answers == labels).sum()), len(labels)),
        top5=top5,
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        ece=calibration_error(labels, probabilities),
        log_loss=float(log_loss(labels, probabilities, labels=classes)),
        per_class=tuple(
            ClassMetrics(label=name, precision=float(p), recall=float(r), f1=float(f), n=int(n))
            for name, p, r, f, n in zip(names, precision, recall, f1, counts, strict=True)
        ),
        confusion=_confusion(confusion_matrix(labels, answers, labels=classes).tolist()),
        chosen_on_same_images=chosen_on_same_images,
    )


def _confusion(matrix: list[list[int]]) -> Confusion:
    """The matrix, or its cells where it is mostly zeros."""
    compact = device_metrics.compact(matrix)
    return compact if isinstance(compact, tuple) else SparseConfusion(compact.classes, compact.cells)


def calibration_error(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Expected calibration error of the answers' confidences, in [0, 1], over 15 equally wide bins.

    The mean distance between a bin's accuracy and its mean confidence, bins weighted by their images: Guo et al.,
    "On Calibration of Modern Neural Networks", 2017, equation 3. It depends on the bins and on n; compare it only
    between models evaluated on the same images.
    """
    confidence, right, bins = _binned(labels, probabilities)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def confidence_bins(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[ConfidenceBin, ...]:
    """The bins of `calibration_error`, the lowest first; the mean confidence of an empty one is 0."""
    confidence, right, bins = _binned(labels, probabilities)
    counts = np.bincount(bins, minlength=BINS)
    hits = np.bincount(bins, weights=right, minlength=BINS)
    means = np.bincount(bins, weights=confidence, minlength=BINS) / np.maximum(counts, 1)
    return tuple(
        (int(n), int(hit), round(float(mean), 6)) for n, hit, mean in zip(counts, hits, means, strict=True)
    )


def _binned(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Of each image the confidence of the answer, whether it is right, and its bin."""
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    bins = np.ceil(confidence * BINS).astype(np.int64) - 1  # the paper's bins hold their upper end
    return confidence, probabilities.argmax(axis=1) == labels, bins


def cross_validated(accuracies: Sequence[float]) -> FoldsRecord:
    """Mean, sample standard deviation and the mean's 95 % t-interval, cut to [0, 1], of one accuracy a fold.

    The folds share training images, so the interval is somewhat too narrow (Bengio and Grandvalet, "No Unbiased
    Estimator of the Variance of K-Fold Cross-Validation", 2004). Raises `BadInput` below two folds.
    """
    if len(accuracies) < 2:
        raise BadInput(
            f"cross-validation of {len(accuracies)} fold(s) has no spread. Use data.folds of 2 or more."
        )
    from scipy import stats

    values = np.array(accuracies, np.float64)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    half = std / len(values) ** 0.5 * float(stats.t.ppf(0.975, len(values) - 1))
    return FoldsRecord(
        k=len(accuracies),
        mean=mean,
        std=std,
        interval=(max(mean - half, 0.0), min(mean + half, 1.0)),
        accuracies=tuple(map(float, accuracies)),
    )
