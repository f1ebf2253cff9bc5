"""Differences and paired tests, against SciPy, a published example and a simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edge_tl.device import metrics


def paired(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, reference's and device's answers with these counts of right and wrong."""
    labels = np.zeros(both + lost + won + neither, np.int64)
    reference = np.repeat([0, 0, 1, 1], [both, lost, won, neither])
    device = np.repeat([0, 1, 0, 2], [both, lost, won, neither])
    return labels, reference, device


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_no_tolerance_passes_a_nan(bad: float, side: int) -> None:
    arrays = [np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)]
    arrays[side][1, 2] = bad
    assert metrics.max_abs_diff(*arrays) == math.inf
    assert metrics.max_abs_diff(arrays[side], arrays[side]) == math.inf


def test_max_abs_diff() -> None:
    a = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
    b = np.array([[1.5, -2.0], [3.0, 1.0]], np.float32)
    assert metrics.max_abs_diff(a, b) == metrics.max_abs_diff(b, a) == 3.0
    assert metrics.max_abs_diff(a, a) == 0.0
    assert metrics.max_abs_diff(a[:0], a[:0]) == 0.0
    largest = np.full((1, 1), np.finfo(np.float32).max)
    assert metrics.max_abs_diff(largest, -largest) == 2 * float(np.finfo(np.float32).max)


def test_fractions() -> None:
    logits = np.array([[1, 5, 2], [9, 0, 1], [0, 0, 3], [2, 2, 1]], np.float32)
    answers = metrics.top1(logits)
    assert answers.tolist() == [1, 0, 2, 0]
    assert metrics.accuracy(np.array([1, 0, 0, 0]), answers) == 0.75
    assert metrics.agreement(answers, np.array([1, 1, 1, 0])) == 0.5


@pytest.mark.parametrize(
    ("lost", "won"), [(0, 0), (1, 0), (0, 5), (5, 5), (12, 3), (3, 12), (140, 100), (600, 390)]
)
def test_mcnemar_is_scipys_binomial_test(lost: int, won: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    got = metrics.paired_drop(*paired(20, lost, won, 7))
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert got.mcnemar_p == pytest.approx(expected, rel=1e-9)
    assert (got.lost, got.won) == (lost, won)


def test_mcnemar_by_hand() -> None:
    """5 lost, 1 won: 2 (1 + 6) / 64."""
    assert metrics.paired_drop(*paired(10, 5, 1, 0)).mcnemar_p == pytest.approx(14 / 64)


@pytest.mark.parametrize(("lost", "won"), [(1024, 0), (700, 600), (2600, 2500)])
def test_a_thousand_changed_answers_are_no_overflow(lost: int, won: int) -> None:
    """A broken INT8 model on a large evaluation set: 2**1024 is no float any more."""
    p = metrics.paired_drop(*paired(0, lost, won, 0)).mcnemar_p
    # The normal approximation with continuity correction is good to a few per cent at these counts.
    z = (abs(lost - won) - 1) / math.sqrt(lost + won)
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.05, abs=1e-100)


@pytest.mark.parametrize(("lost", "won"), [(7, 3), (3, 7), (0, 4), (0, 0)])
def test_the_drop_is_reference_minus_device(lost: int, won: int) -> None:
    labels, reference, device = paired(50, lost, won, 9)
    got = metrics.paired_drop(labels, reference, device)
    drop = metrics.accuracy(labels, reference) - metrics.accuracy(labels, device)
    assert got.drop_pp == pytest.approx(100 * drop)
    assert math.copysign(1, got.drop_pp) == math.copysign(1, lost - won)
    low, high = got.drop_ci_pp
    assert low <= got.drop_pp <= high


def test_the_interval_is_the_published_one() -> None:
    """Bentur et al. 2009 as in Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), table V: of 21
    children 1 improved and 7 worsened. By hand: p = 2/23 and 8/23, difference -6/23, standard error
    sqrt((10/23 - 36/529) / 23), hence -0.508 to -0.013."""
    low, high = metrics.paired_drop(*paired(1, 1, 7, 12)).drop_ci_pp
    assert [round(low, 1), round(high, 1)] == [-50.8, -1.3]


@pytest.mark.parametrize(("n", "p_lost", "p_won"), [(50, 0.05, 0.02), (200, 0.03, 0.01), (750, 0.02, 0.02)])
def test_the_interval_covers_the_truth(n: int, p_lost: float, p_won: float) -> None:
    rng = np.random.default_rng(11)
    truth, hits, trials = 100 * (p_lost - p_won), 0, 1500
    for lost, won, _ in rng.multinomial(n, [p_lost, p_won, 1 - p_lost - p_won], trials):
        low, high = metrics.paired_drop(*paired(n - lost - won, lost, won, 0)).drop_ci_pp
        hits += low <= truth <= high
    assert hits / trials >= 0.93


@pytest.mark.parametrize("counts", [(0, 5, 0, 0), (0, 0, 5, 0), (0, 1, 0, 0)])
def test_the_interval_stays_within_what_can_be(counts: tuple[int, int, int, int]) -> None:
    low, high = metrics.paired_drop(*paired(*counts)).drop_ci_pp
    assert -100 <= low < high <= 100


def test_confusion_counts_label_then_answer() -> None:
    labels, answers = np.array([0, 0, 0, 2, 2]), np.array([0, 1, 1, 2, 0])
    matrix = metrics.confusion(labels, answers, 3)
    assert matrix == [[1, 2, 0], [0, 0, 0], [1, 0, 1]]
    assert all(type(count) is int for row in matrix for count in row), "JSON needs plain integers"


def test_softmax() -> None:
    got = metrics.softmax(np.array([[0.0, math.log(3.0)], [1e38, -1e38], [-3e38, -3e38]], np.float32))
    assert got.dtype == np.float64
    assert got == pytest.approx(np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]]), abs=1e-7)
    special = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).normal(0, 30, (50, 7)).astype(np.float32)
    assert metrics.softmax(logits) == pytest.approx(special.softmax(logits.astype(np.float64), axis=-1))


def test_the_expected_drop_is_what_labels_drawn_from_the_probabilities_lose_on_average():
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 1.5, (400, 6)).astype(np.float32)
    answers = np.where(rng.random(400) < 0.3, rng.integers(0, 6, 400), metrics.top1(reference))
    p = metrics.softmax(reference)
    drops = []
    for _ in range(2000):
        labels = (p.cumsum(axis=1) > rng.random((400, 1))).argmax(axis=1)
        drops.append(metrics.paired_drop(labels, metrics.top1(reference), answers).drop_pp)
    expected = metrics.expected_drop(reference, answers)
    assert expected.drop_pp == pytest.approx(np.mean(drops), abs=4 * np.std(drops) / len(drops) ** 0.5)
    assert expected.drop_pp > 1
    assert metrics.expected_drop(reference, metrics.top1(reference)).drop_pp == 0


def test_the_interval_of_the_expected_drop_is_the_one_of_a_mean_and_holds_what_more_images_tell():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    reference = rng.normal(0, 1.5, (40_000, 6)).astype(np.float32)
    answers = np.where(rng.random(40_000) < 0.1, rng.integers(0, 6, 40_000), metrics.top1(reference))
    whole = metrics.expected_drop(reference, answers)
    p = metrics.softmax(reference)
    lost = 100 * (p.max(axis=1) - p[np.arange(40_000), answers])
    se = stats.sem(lost)
    assert whole.drop_ci_pp == pytest.approx(stats.norm.interval(0.95, whole.drop_pp, se), rel=1e-3)
    parts = [
        metrics.expected_drop(reference[i : i + 400], answers[i : i + 400]) for i in range(0, 40_000, 400)
    ]
    held = sum(part.drop_ci_pp[0] <= whole.drop_pp <= part.drop_ci_pp[1] for part in parts)
    assert held >= 88  # of 100; 95 are meant


@pytest.mark.parametrize("classes", [1, 3, 50, 51, 1000])
def test_a_confusion_matrix_of_many_classes_is_kept_by_its_cells(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels, answers = rng.integers(0, classes, 300), rng.integers(0, classes, 300)
    whole = metrics.confusion(labels, answers, classes)
    kept = metrics.compact(whole)
    assert isinstance(kept, tuple) == (classes <= 50)
    if isinstance(kept, tuple):
        assert [list(row) for row in kept] == whole
    else:
        assert kept.classes == classes
        assert sum(n for _, _, n in kept.cells) == 300
        assert all(whole[i][j] == n for i, j, n in kept.cells)
    stored = [list(row) for row in kept] if isinstance(kept, tuple) else kept.to_json()
    assert len(json.dumps(stored)) < 8000
    assert json.loads(json.dumps(stored)) == stored
