"""The head against scikit-learn itself: the folded linear layer, the choice on the path."""

from __future__ import annotations

import numpy as np
import pytest
from listening import Listening
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_tl.device.metrics import softmax
from edge_tl.host.training.linear_head import Floats, HeadData, Labels, solve_linear_head


def problem(classes: int, seed: int = 0, noise: float = 1.5) -> tuple[Floats, Labels]:
    """Overlapping clouds; the features have very different scales and offsets, and one never moves."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60 * classes, dtype=np.int64) % classes
    centres = np.random.default_rng(99).normal(size=(classes, 12))
    features = centres[labels] + noise * rng.normal(size=(len(labels), 12))
    features = features * np.logspace(-2, 2, 12) + np.linspace(-50, 50, 12)
    features[:, 5] = 7.25
    return features.astype(np.float32), labels


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_folded_layer_is_scikit_learns_solution(classes: int, strength: float):
    features, labels = problem(classes)
    val, val_labels = problem(classes, seed=1)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000, tol=1e-8))
    oracle.fit(features.astype(np.float64), labels)
    solution = solve_linear_head(
        HeadData(features, labels, val, val_labels, classes), strengths=[strength], max_iter=2000
    )
    assert solution.weight.shape == (classes, 12)
    assert solution.bias.shape == (classes,)
    assert solution.weight.dtype == solution.bias.dtype == np.float32
    got = softmax(val @ solution.weight.T + solution.bias)
    np.testing.assert_allclose(got, oracle.predict_proba(val.astype(np.float64)), atol=1e-3)
    near = np.sort(got, axis=1)[:, -1] - np.sort(got, axis=1)[:, -2] < 2e-3
    np.testing.assert_array_equal(solution.answers(val)[~near], oracle.predict(val)[~near])


def test_the_figures_on_the_path_are_those_of_the_solutions():
    features, labels = problem(3)
    val, val_labels = problem(3, seed=1)
    strengths = [0.1, 0.001, 1.0, 0.01]
    solution = solve_linear_head(
        HeadData(features, labels, val, val_labels, 3), strengths=strengths, max_iter=2000
    )
    assert [entry.C for entry in solution.grid] == [0.001, 0.01, 0.1, 1.0][: len(solution.grid)]
    entry = next(entry for entry in solution.grid if solution.chosen == entry.C)
    probabilities = softmax(val @ solution.weight.T + solution.bias)
    assert entry.accuracy == np.mean(solution.answers(val) == val_labels)
    assert entry.log_loss == pytest.approx(log_loss(val_labels, probabilities), abs=1e-3)


@pytest.mark.parametrize("noise", [0.05, 1.5, 6.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_accuracy_wins_and_log_loss_decides_ties(noise: float, seed: int):
    features, labels = problem(4, seed=seed, noise=noise)
    val, val_labels = problem(4, seed=seed + 50, noise=noise)
    strengths = [10.0**power for power in range(-6, 5)]
    solution = solve_linear_head(HeadData(features, labels, val, val_labels, 4), strengths=strengths)
    scores = [(entry.accuracy, -entry.log_loss) for entry in solution.grid]
    assert solution.chosen == solution.grid[scores.index(max(scores))].C
    # It stops where three strengths in a row bring nothing, and nowhere else.
    best, since = (-1.0, 0.0), 0
    for position, score in enumerate(scores):
        best, since = (score, 0) if score > best else (best, since + 1)
        assert (since >= 3) == (position == len(scores) - 1 and len(scores) < len(strengths)) or (
            position == len(strengths) - 1
        )


def test_a_path_on_noise_ends_early():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 40)).astype(np.float32)
    labels = rng.integers(0, 3, 60).astype(np.int64)
    val, val_labels = rng.normal(size=(200, 40)).astype(np.float32), rng.integers(0, 3, 200)
    calls: list[tuple[str, int, int]] = []
    strengths = [10.0**power for power in range(-6, 6)]
    solution = solve_linear_head(
        HeadData(features, labels, val, val_labels, 3),
        strengths=strengths,
        listener=Listening(progress=lambda *call: calls.append(call)),
    )
    assert 4 <= len(solution.grid) < len(strengths)
    assert calls[-1] == ("head", len(strengths), len(strengths))


def test_the_same_features_give_the_same_layer():
    features, labels = problem(3)
    a, b = (
        solve_linear_head(HeadData(features, labels, features, labels, 3), strengths=[0.01, 1.0])
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.weight, b.weight)
    np.testing.assert_array_equal(a.bias, b.bias)


def test_a_fit_that_does_not_converge_is_recorded_and_no_warning():
    features, labels = problem(5)
    solution = solve_linear_head(
        HeadData(features, labels, features, labels, 5), strengths=[1000.0], max_iter=2
    )
    iterations = solution.grid[0].iterations
    assert iterations is not None
    assert 1 <= iterations <= 2
