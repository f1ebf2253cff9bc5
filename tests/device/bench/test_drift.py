"""A label for latencies that had not settled: what it finds, what it lets pass. Synthetic samples only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_tl.device.bench.drift import drift_of, last_by_first, trend
from edge_tl.device.bench.timer import Samples


def blocks(
    seed: int, *, warm: float = 0.0, drift: float = 0.0, shared: float = 0.0
) -> tuple[list[Any], list[int]]:
    """Seven rounds of ten blocks of ten calls; `warm`: how much slower a process begins, `drift`: how much slower the
    run ends, `shared`: autocorrelated noise of the machine."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(700)
    for i in range(1, 700):
        noise[i] = 0.9 * noise[i - 1] + shared * rng.normal()
    age, time = np.tile(np.arange(100) / 99, 7), np.arange(700) / 699
    times = 1e7 * (1 + warm * (1 - age) + drift * time + noise + 0.01 * rng.normal(size=700))
    return list(times.astype(np.int64).reshape(70, 10)), list(np.repeat(np.arange(7), 10))


def drift(blocks: list[Samples], rounds: list[int]) -> dict[str, Any]:
    """As it is written."""
    return drift_of(blocks, rounds).to_json()


def test_what_has_settled_is_steady() -> None:
    for seed in range(30):
        found = drift(*blocks(seed))
        assert found["steady"] is True
        assert abs(found["within_process"]["change"]) < 0.02


def test_noise_of_the_machine_is_rarely_taken_for_a_trend() -> None:
    """Autocorrelated noise fools an uncorrected test in most runs."""
    wrong = sum(not drift(*blocks(seed, shared=0.02))["steady"] for seed in range(60))
    assert wrong <= 6


def test_warm_up_that_was_not_over_is_found_within_the_process() -> None:
    for seed in range(20):
        found = drift(*blocks(seed, warm=0.06))
        assert found["steady"] is False
        assert found["within_process"]["change"] == pytest.approx(-0.06, abs=0.02)
        assert abs(found["across_run"]["change"]) < 0.04


def test_a_machine_that_slows_down_is_found_across_the_run() -> None:
    for seed in range(20):
        found = drift(*blocks(seed, drift=0.1))
        assert found["steady"] is False
        assert found["across_run"]["change"] == pytest.approx(0.1, abs=0.02)


def test_a_trend_too_small_to_matter_is_steady() -> None:
    found = drift(*blocks(0, drift=0.01))
    assert found["steady"] is True
    assert found["across_run"]["p"] < 0.05, "it is there, and too small"


def test_too_few_calls_to_tell() -> None:
    assert drift([np.full(3, 5)], [0]) == {"steady": None, "within_process": None, "across_run": None}
    assert drift([], []) == {"steady": None, "within_process": None, "across_run": None}


def test_as_the_textbook_without_autocorrelation() -> None:
    """Kendall's tau test and Theil and Sen's slope as SciPy has them."""
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(4).permutation(40) + 0.3 * np.arange(40)
    found = trend(values)
    tau = stats.kendalltau(np.arange(40), values, method="asymptotic")
    slope = stats.theilslopes(values).slope
    assert found is not None
    assert found.p == pytest.approx(tau.pvalue, rel=0.15)  # SciPy has no continuity correction
    assert found.change == pytest.approx(slope * 39 / np.median(values))


def test_constant_and_tied_values() -> None:
    flat = trend(np.full(50, 7.0))
    assert flat is not None
    assert flat.to_json() == {"change": 0.0, "p": 1.0}
    tied = trend(np.repeat([1.0, 2.0], 20))
    assert tied is not None
    assert tied.p < 0.05


def windows(rng: np.random.Generator, *, minutes: int, lasts: float, planted: float = 0.0) -> Any:
    """Medians of the minutes of a run whose seconds share noise of 2 % that lasts for `lasts` seconds (the
    correlation time of an AR(1) process), each with 1 % of its own; it ends `planted` slower than it began."""
    count, keep = 60 * minutes, np.exp(-1 / lasts)
    steps = rng.normal(0, 0.02 * np.sqrt(1 - keep**2), count)
    steps[0] = rng.normal(0, 0.02)
    noise = np.zeros(count)
    for i in range(count):
        noise[i] = (keep * noise[i - 1] if i else 0) + steps[i]
    seconds = 2e7 * np.exp(noise + rng.normal(0, 0.01, count)) * (1 + planted * np.arange(count) / count)
    return np.median(seconds.reshape(minutes, 60), axis=1)


@pytest.mark.parametrize(("minutes", "lasts"), [(5, 20), (10, 0.1), (10, 5), (10, 20), (30, 20)])
def test_noise_of_the_machine_is_rarely_taken_for_a_slow_down(minutes: int, lasts: float) -> None:
    """Tenths of a minute as independent rounds excluded 1 in a third of such runs."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(400):
        low, high = last_by_first(windows(rng, minutes=minutes, lasts=lasts)).to_json()["change_ci"]
        wrong += not low <= 1 <= high
    assert wrong / 400 <= 0.08


def test_a_planted_slow_down_is_found() -> None:
    rng = np.random.default_rng(8)
    found = [last_by_first(windows(rng, minutes=10, lasts=20, planted=0.1)).to_json() for _ in range(200)]
    assert sum(one["change_ci"][0] > 1 for one in found) >= 180
    assert float(np.median([one["change"] for one in found])) == pytest.approx(1.09, abs=0.01)


def test_a_run_too_short_to_know_says_so() -> None:
    for count in (2, 4):
        found = last_by_first(np.linspace(2e7, 2.2e7, count)).to_json()
        assert found["change"] == pytest.approx(1.1)
        assert found["change_ci"] is None
        assert f"{count} windows are too few" in found["change_reason"]
    known = last_by_first(np.array([1.0, np.nan, 1.1, 1.0, 1.05, 1.1])).to_json()
    assert known["change_ci"] is not None
    lost = last_by_first(np.array([1.0, 1.0, 1.0, 1.0, 1.0, np.nan])).to_json()
    assert (lost["change"], lost["change_ci"]) == (None, None)
    assert "no call" in lost["change_reason"]


def test_a_run_without_any_noise_has_an_interval_of_no_width() -> None:
    found = last_by_first(np.full(6, 2e7)).to_json()
    assert found["change"] == 1
    assert found["change_ci"] == pytest.approx([1, 1])
