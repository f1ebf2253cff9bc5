"""The reliability diagram: its bins against scikit-learn's calibration curve, its points and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample
from sklearn.calibration import calibration_curve

from edge_tl.device.metrics import softmax
from edge_tl.device.records.accuracy import ConfidenceRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Fault
from edge_tl.host.export.calibration import figures
from edge_tl.host.reports.reliability_plot import reliability_plots
from edge_tl.host.training.metrics import BINS, calibration_error, confidence_bins


def some(n: int = 3000, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes)).astype(np.float32) * 1.5
    logits[np.arange(n), labels] += generator.normal(1.5, 1.5, n).astype(np.float32)
    return labels, logits


def test_the_bins_are_scikit_learns() -> None:
    labels, logits = some()
    probabilities = softmax(logits)
    bins = confidence_bins(labels, probabilities)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    shares, means = calibration_curve(right, confidence, n_bins=BINS)
    known = [each for each in bins if each[0]]
    np.testing.assert_allclose([hit / n for n, hit, _ in known], shares)
    np.testing.assert_allclose([mean for _, _, mean in known], means, atol=1e-6)
    assert sum(n for n, _, _ in bins) == len(labels)
    assert len(bins) == BINS
    error = sum(n * abs(hit / n - mean) for n, hit, mean in known) / len(labels)
    assert error == pytest.approx(calibration_error(labels, probabilities), abs=1e-6)


def with_confidence(found: ConfidenceRecord | None) -> BundleRecord:
    base = bundle(sample("bundle"))
    own = replace(base.artifact("onnx-int8"), confidence=found)
    return replace(
        base, reference=replace(base.reference, confidence=found), artifacts=(own,), recommended="onnx-int8"
    )


def test_before_and_after_are_drawn_with_their_errors_and_counts() -> None:
    labels, logits = some()
    found = figures(labels, logits, logits / np.float32(1.7), 1.7)
    assert found.bins != found.bins_before
    drawn = reliability_plots(with_confidence(found))
    assert len(drawn) == 2
    ids = re.findall(r'id="([^"]+)"', "".join(drawn))
    assert len(ids) == len(set(ids))
    for each in drawn:
        assert f"before, ECE {100 * found.ece_before:.2f} %" in each
        assert f"after dividing logits by 1.70, ECE {100 * found.ece:.2f} %" in each
        counts = [f"{n:,}" for n, _, _ in found.bins if n]
        assert all(f">{count}</text>" in each for count in counts)
        assert f"93 to 100 %: {found.bins[-1][1]} of {found.bins[-1][0]} right" in each


def test_without_a_temperature_there_is_one_line() -> None:
    labels, logits = some(200)
    (first, _) = reliability_plots(with_confidence(figures(labels, logits, logits, 1.0)))
    assert "before" not in first
    assert "dividing" not in first


def test_a_record_without_bins_has_no_diagram() -> None:
    labels, logits = some(200)
    found = replace(figures(labels, logits, logits, 1.0), bins=(), bins_before=())
    assert reliability_plots(with_confidence(found)) == []
    assert reliability_plots(with_confidence(None)) == []


def test_bins_that_no_answers_fill_are_refused_by_name() -> None:
    labels, logits = some(200)
    found = figures(labels, logits, logits, 1.0).to_json()
    assert ConfidenceRecord.read(found).bins
    for bad in ([[1, 2, 0.5]], [[-1, 0, 0.5]], [[1, 1, 1.5]], [[1, 1]], "x"):
        with pytest.raises(Fault) as raised:
            ConfidenceRecord.read(found | {"bins": bad})
        assert raised.value.path.startswith("bins")
