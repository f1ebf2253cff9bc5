"""The figures against scikit-learn and scipy themselves, the calibration error against a hand-made example."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import log_softmax
from sklearn.metrics import classification_report, confusion_matrix

from edge_tl.device import metrics
from edge_tl.device.errors import BadInput
from edge_tl.device.metrics import wilson_interval
from edge_tl.host.runs.record import MetricsRecord
from edge_tl.host.training.metrics import (
    calibration_error,
    classification_metrics,
    cross_validated,
)

NAMES = ["a", "b", "c", "d", "é", "f", "never"]


def figures(labels, logits, names) -> MetricsRecord:
    return classification_metrics(labels, logits, names, split="val", chosen_on_same_images=True)


def some(n=200, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 6, n)  # "never" has no image
    logits = generator.normal(size=(n, 7)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    logits[:, 3] = -9  # "d" is never the answer
    return labels, logits


@pytest.mark.parametrize(("right", "n"), [(147, 153), (0, 5), (5, 5), (1, 1), (9000, 10000)])
def test_the_interval_is_wilsons(right: int, n: int):
    """Solved by hand: the fractions that are 1.96 of their own standard deviations away."""
    z = 1.959963984540054
    centre, half = (
        (right + z * z / 2) / (n + z * z),
        z * (right * (n - right) / n + z * z / 4) ** 0.5 / (n + z * z),
    )
    np.testing.assert_allclose(
        wilson_interval(right, n), [max(centre - half, 0), min(centre + half, 1)], atol=1e-12
    )
    labels, logits = np.zeros(n, np.int64), np.zeros((n, 2), np.float32)
    logits[:right, 0] = 1
    logits[right:, 1] = 1
    got = figures(labels, logits, ["a", "b"])
    assert got.accuracy_ci == wilson_interval(right, n)
    assert got.accuracy_ci[0] <= got.accuracy <= got.accuracy_ci[1]


def test_figures_are_scikit_learns():
    labels, logits = some()
    answers = logits.argmax(1)
    got = figures(labels, logits, NAMES)
    expected = classification_report(
        labels, answers, labels=range(7), target_names=NAMES, output_dict=True, zero_division=0
    )
    assert got.n == 200
    assert got.accuracy == np.mean(labels == answers)
    for key, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert getattr(got, f"macro_{key}") == pytest.approx(expected["macro avg"][name])
        for item in got.per_class:
            assert getattr(item, key) == pytest.approx(expected[item.label][name])
    assert [item.n for item in got.per_class] == [int(np.sum(labels == i)) for i in range(7)]
    assert isinstance(got.confusion, tuple)
    assert list(map(list, got.confusion)) == confusion_matrix(labels, answers, labels=range(7)).tolist()
    assert sum(got.confusion[2]) == np.sum(labels == 2)  # rows are labels
    rank = (logits > logits[np.arange(200), labels][:, None]).sum(1)
    assert got.top5 == np.mean(rank < 5)
    assert got.log_loss == pytest.approx(-log_softmax(logits.astype(float), 1)[np.arange(200), labels].mean())


def test_figures_are_plain_and_survive_json():
    labels, logits = some(20)
    got = figures(labels, logits, NAMES)
    assert MetricsRecord.from_json(json.loads(json.dumps(got.to_json(), allow_nan=False))) == got
    assert type(got.n) is int
    assert isinstance(got.confusion, tuple)
    assert type(got.confusion[0][0]) is int
    assert type(got.per_class[0].f1) is float


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_top5_only_where_it_can_be_missed(classes):
    labels, logits = np.array([0, 1]), np.eye(2, classes, dtype=np.float32)
    assert figures(labels, logits, NAMES[:classes]).top5 == (None if classes < 6 else 1.0)


def test_one_image_of_one_class_and_logits_far_apart():
    got = figures(np.array([1]), np.array([[-1e4, 1e4, 0]], np.float32), NAMES[:3])
    assert (got.accuracy, got.ece) == (1.0, 0.0)
    assert got.log_loss == pytest.approx(0, abs=1e-12)
    wrong = figures(np.array([0]), np.array([[-1e4, 1e4, 0]], np.float32), NAMES[:3])
    assert wrong.ece == 1.0
    assert 30 < wrong.log_loss < np.inf


def test_nothing_to_judge_and_no_numbers_are_refused():
    with pytest.raises(BadInput, match=r"0 labelled images.*data\.val"):
        figures(np.zeros(0, np.int64), np.zeros((0, 3), np.float32), NAMES[:3])
    logits = np.zeros((4, 3), np.float32)
    logits[2, 1] = np.nan
    with pytest.raises(BadInput, match=r"1 of 4 images.*learning rate"):
        figures(np.zeros(4, np.int64), logits, NAMES[:3])


def test_calibration_error_by_hand():
    # Confidences 0.9, 0.9 share a bin (one right: gap 0.4), 0.6 stands alone (right: gap 0.4),
    # 0.7 and 0.72 straddle no edge of fifteenths (10/15 to 11/15), both wrong: gap 0.71.
    confident = np.array([0.9, 0.9, 0.6, 0.7, 0.72])
    probabilities = np.stack([confident, 1 - confident], axis=1)
    labels = np.array([0, 1, 0, 1, 1])
    expected = (2 * 0.4 + 1 * 0.4 + 2 * 0.71) / 5
    assert calibration_error(labels, probabilities) == pytest.approx(expected)


def test_gaps_of_one_bin_cancel_and_of_two_do_not():
    labels = np.array([0, 1])
    same_bin = np.array([[0.52, 0.48], [0.52, 0.48]])
    assert calibration_error(labels, same_bin) == pytest.approx(0.02)
    two_bins = np.array([[0.52, 0.48], [0.95, 0.05]])
    assert calibration_error(labels, two_bins) == pytest.approx((0.48 + 0.95) / 2)


LOGITS = arrays(
    np.float32, st.tuples(st.integers(1, 30), st.integers(2, 5)), elements=st.floats(-50, 50, width=32)
)


@given(LOGITS, st.randoms(use_true_random=False))
def test_calibration_error_is_a_fraction_that_knows_no_order(logits, random):
    n, classes = logits.shape
    labels = np.array([random.randrange(classes) for _ in range(n)])
    probabilities = metrics.softmax(logits)
    value = calibration_error(labels, probabilities)
    assert 0 <= value <= 1
    order = list(range(n))
    random.shuffle(order)
    assert calibration_error(labels[order], probabilities[order]) == pytest.approx(value, abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_certain_and_right_is_calibrated_certain_and_wrong_is_not(labels):
    truth = np.array(labels)
    assert calibration_error(truth, np.eye(4)[truth]) == 0
    assert calibration_error((truth + 1) % 4, np.eye(4)[truth]) == 1


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_folds_are_scipys_t_interval(accuracies):
    got = cross_validated(accuracies)
    assert got.k == len(accuracies)
    assert got.mean == pytest.approx(np.mean(accuracies))
    assert got.std == pytest.approx(np.std(accuracies, ddof=1))
    low, high = got.interval
    assert 0 <= low <= got.mean + 1e-12
    assert got.mean - 1e-12 <= high <= 1
    if got.std > 1e-6:
        exact = stats.t.interval(0.95, len(accuracies) - 1, got.mean, stats.sem(accuracies))
        assert [low, high] == pytest.approx([max(exact[0], 0), min(exact[1], 1)])


def test_equal_folds_and_one_fold():
    assert cross_validated([0.5, 0.5, 0.5]).to_json() == {
        "k": 3, "mean": 0.5, "std": 0.0, "interval": [0.5, 0.5], "accuracies": [0.5, 0.5, 0.5],
    }  # fmt: skip
    with pytest.raises(BadInput, match="1 fold"):
        cross_validated([0.9])
