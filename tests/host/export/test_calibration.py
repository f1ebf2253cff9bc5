"""Temperatures make probabilities true, change no answer, and are in the file; thresholds are restored."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tl.device.bundle import read_bundle
from edge_tl.device.metrics import softmax, top1
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.export import calibration
from edge_tl.host.export.threshold import ThresholdData, threshold_record


def drawn(n: int, sharpness: float, seed: int = 0) -> tuple[Any, Any]:
    """Labels drawn from a model's own probabilities, and its logits made too certain by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 5)).astype(np.float32)
    labels = (softmax(logits).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return labels, logits * np.float32(sharpness)


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0])
def test_the_temperature_undoes_what_made_the_model_too_certain(sharpness: float):
    labels, logits = drawn(20_000, sharpness)
    assert calibration.temperature(labels, logits) == pytest.approx(sharpness, rel=0.05)
    found = calibration.figures(labels, logits, calibration.held_out(labels, logits), sharpness)
    assert found.ece < 0.02 < found.ece_before
    assert found.log_loss < found.log_loss_before


def test_the_optimum_is_scikit_learns_log_loss_at_its_least():
    from sklearn.metrics import log_loss

    labels, logits = drawn(2_000, 3.0, seed=1)
    found = calibration.temperature(labels, logits)
    losses = {t: log_loss(labels, softmax(logits / t)) for t in np.linspace(1.0, 6.0, 501)}
    assert found == pytest.approx(min(losses, key=losses.__getitem__), abs=0.02)
    assert calibration.log_loss(labels, logits) == pytest.approx(log_loss(labels, softmax(logits)))


@pytest.mark.parametrize("seed", range(3))
def test_classes_that_come_in_turn_are_in_both_halves(seed: int):
    """With an even number of classes every second image is of half the classes. Here half of them are answered too
    certainly and the other half not certainly enough: each half's temperature is wrong for the other's."""
    rng = np.random.default_rng(seed)
    labels = np.arange(2000) % 4
    logits = rng.normal(0, 1, (2000, 4)).astype(np.float32)
    logits[np.arange(2000), labels] += np.where(labels % 2, 0.7, 4.0)
    logits *= np.where(labels % 2, 3.0, 0.5)[:, None].astype(np.float32)
    whole = calibration._fit(labels, logits)
    assert abs(np.log(whole)) > 0.2
    assert calibration.temperature(labels, logits, seed) == pytest.approx(whole)
    for half in (calibration._half(labels, seed), ~calibration._half(labels, seed)):
        assert np.bincount(labels[half]).tolist() == [250] * 4
    assert not np.array_equal(calibration._half(labels, 0), calibration._half(labels, 1))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=99), st.integers(0, 2**31))
def test_halves_hold_half_of_each_class(classes: list[int], seed: int):
    labels = np.array(classes)
    first = calibration._half(labels, seed)
    assert abs(2 * int(first.sum()) - len(labels)) <= 1
    for label in set(classes):
        mine = first[labels == label]
        assert abs(2 * int(mine.sum()) - len(mine)) <= 1


def test_what_does_not_help_on_other_images_is_left_alone():
    labels, logits = drawn(19, 4.0)
    assert calibration.temperature(labels, logits) == 1.0  # too few to say
    rng = np.random.default_rng(0)
    helped = 0
    for seed in range(30):  # already calibrated: what a fit finds is chance, and mostly refused
        labels, logits = drawn(60, 1.0, seed)
        order = rng.permutation(60)
        helped += calibration.temperature(labels[order], logits[order]) != 1.0
    assert helped < 20


def nearly_always_right(n: int, seed: int) -> tuple[Any, Any]:
    """Labels drawn from the probabilities of a model that is right on about 96 of 100, as it says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 20, (n, 5)).astype(np.float32)
    labels = (softmax(logits).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return labels, logits


def test_few_images_that_are_all_right_do_not_make_the_model_certain():
    """Log loss falls without end as T goes to 0 where all are right: 0.2 was found on many draws of 20 images, and the
    loss on other images was three times as large."""
    labels, logits = nearly_always_right(5_000, 1)
    found = [calibration.temperature(*nearly_always_right(20, seed)) for seed in range(100, 150)]
    assert min(found) > 0.3
    losses = [calibration.log_loss(labels, logits / t) for t in found]
    assert np.mean(losses) < 1.15 * calibration.log_loss(labels, logits)


@pytest.mark.parametrize(("right", "scale"), [(True, 0.01), (False, 10.0)])
def test_an_optimum_at_an_end_of_the_range_is_none(right: bool, scale: float):
    """All right on many images, barely told apart; or all wrong, for certain."""
    labels = np.arange(4_000) % 4
    logits = np.zeros((4_000, 4), np.float32)
    logits[np.arange(4_000), labels if right else (labels + 1) % 4] = scale
    assert calibration.temperature(labels, logits) == 1.0


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.3, 3), st.floats(0.21, 0.99), st.integers(0, 10_000))
def test_the_restored_threshold_lets_as_many_pass(n: int, factor: float, threshold: float, seed: int):
    labels, logits = drawn(n, 1.0, seed)
    reference, own = calibration.confident(logits), calibration.confident(logits * np.float32(factor))
    restored = calibration.restoring(threshold, reference, own)
    assert np.sum(own >= restored) == np.sum(reference >= threshold)
    passing = calibration.coverage(labels, logits * np.float32(factor), restored)
    assert passing.coverage == np.mean(reference >= threshold)
    assert (passing.accuracy is None) == (passing.coverage == 0)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_a_threshold_is_judged_on_images_that_did_not_restore_it(threshold: float):
    """On the images that restored it, it lets exactly as many pass as PyTorch's, whatever it does on others."""
    labels, logits = drawn(40, 1.0, 3)
    noisy = logits + np.random.default_rng(0).normal(0, 1.0, logits.shape).astype(np.float32)
    alike = np.mean(calibration.confident(logits) >= threshold)
    rows = [calibration.held_out_coverage(threshold, labels, logits, noisy, seed) for seed in range(20)]
    assert any(row.coverage != alike for row in rows)
    data = ThresholdData(labels, logits, noisy, noisy, held_out_by=4)
    found = threshold_record(threshold, data, noisy)
    assert (found.restored_coverage, found.restored_accuracy) == tuple(rows[4])
    assert np.mean(calibration.confident(noisy) >= found.restoring) == alike
    first = calibration._half(labels, 4)
    own, reference = calibration.confident(noisy), calibration.confident(logits)
    passing = [
        own[half] >= calibration.restoring(threshold, reference[~half], own[~half])
        for half in (first, ~first)
    ]
    assert found.restored_coverage == np.concatenate(passing).mean()
    separate = threshold_record(threshold, replace(data, held_out_by=None), noisy)
    assert separate.restored_coverage == alike


@given(st.integers(0, 30), st.floats(0.01, 0.99), st.integers(0, 99))
def test_however_few_images_a_held_out_threshold_is_a_share_or_nothing(n: int, threshold: float, seed: int):
    labels, logits = drawn(n, 1.0, seed)
    found = calibration.held_out_coverage(threshold, labels, logits, logits * np.float32(0.7), seed)
    assert (found.coverage is None) == (n < 2)
    assert found.coverage is None or 0 <= found.coverage <= 1
    assert found.accuracy is None or 0 <= found.accuracy <= 1


@pytest.mark.parametrize("name", ["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"])
def test_the_file_itself_divides(name: str, bundle: Path, tmp_path: Path):
    loaded = read_bundle(bundle)
    artifact = loaded.artifact(name)
    for file in artifact.record.files:
        shutil.copy(bundle / file.path, tmp_path)
    path = tmp_path / artifact.path.name
    before, pixels = open_runtime(path), loaded.golden_pixels()
    expected = np.concatenate([before(pixels[i : i + 1]) for i in range(4)])
    calibration.fold(path, 2.5, loaded.preprocess, loaded.labels)
    after = open_runtime(path)
    np.testing.assert_allclose(
        np.concatenate([after(pixels[i : i + 1]) for i in range(4)]), expected / 2.5, rtol=1e-4, atol=1e-5
    )
    assert after.precision == before.precision
    assert after(pixels[:3]).shape == (3, len(loaded.labels))  # any batch size still
    unchanged = path.read_bytes()
    calibration.fold(path, 1.0, loaded.preprocess, loaded.labels)
    assert path.read_bytes() == unchanged


def test_an_export_says_how_far_confidences_can_be_believed(exported: dict[str, Any], bundle: Path):
    loaded = read_bundle(bundle)
    golden = loaded.golden_logits()
    rows = {a["id"]: a["confidence"] for a in exported["artifacts"]}
    rows["pytorch"] = exported["reference"]["confidence"]
    for row in rows.values():
        assert 0.2 <= row["temperature"] <= 10
        assert 0 <= row["ece"] <= 1
        assert 0 <= row["ece_before"] <= 1
        assert (row["temperature"] == 1.0) == (row["log_loss"] == row["log_loss_before"])
    assert rows["onnx-fp32"]["temperature"] == rows["pytorch"]["temperature"]
    np.testing.assert_allclose(golden["onnx-fp32"], golden["pytorch"], atol=1e-3)
    assert (top1(golden["onnx-fp32"]) == top1(golden["pytorch"])).all()


def test_an_exports_device_limit_is_what_quantization_moved(exported: dict[str, Any], bundle: Path):
    golden = read_bundle(bundle).golden_logits()
    divided = exported["reference"]["confidence"]["temperature"]
    for row in exported["artifacts"]:
        own, raw = golden[row["id"]], golden["pytorch"] * divided
        cost = np.abs(own - raw / row["confidence"]["temperature"]).max()
        least = 1e-3 * max(1.0, np.abs(own).max())
        assert row["limits"]["device_max_abs_diff"] == pytest.approx(
            least if row["precision"] == "fp32" else max(least, cost), rel=1e-3
        )
