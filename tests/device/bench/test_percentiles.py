"""Percentiles are refused below their count, and their intervals cover what they say."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from edge_tl.device.bench import percentiles


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 11), (0.9, 64), (0.99, 662), (0.999, 6636)])
def test_counts_are_mlperfs(quantile: float, count: int) -> None:
    assert percentiles.count_needed(quantile) == count

    def at_most_one_above(n: int) -> Fraction:  # the definition, exactly
        q = Fraction(str(quantile))
        return q**n + n * (1 - q) * q ** (n - 1)

    assert at_most_one_above(count) <= Fraction(1, 100) < at_most_one_above(count - 1)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_percentile_needs_its_count(quantile: float) -> None:
    needed = percentiles.count_needed(quantile)
    samples = np.arange(1, needed + 1, dtype=np.int64) * 1_000_000
    assert percentiles.percentile_ms(samples[:-1], quantile) is None
    assert percentiles.percentile_ms(samples, quantile) is not None


@pytest.mark.parametrize("n", [662, 663, 700, 999, 1000])
@pytest.mark.parametrize("quantile", ["0.5", "0.9", "0.99"])
def test_percentiles_are_nearest_rank(n: int, quantile: str) -> None:
    samples = np.random.default_rng(n).permutation(n).astype(np.int64) * 1_000_000
    got = percentiles.percentile_ms(samples, float(quantile))
    assert got is not None
    assert got == sorted(samples.tolist())[math.ceil(Fraction(quantile) * n) - 1] / 1e6
    low, high = (np.percentile(samples, 100 * float(quantile), method=m) / 1e6 for m in ("lower", "higher"))
    assert low - 1 <= got <= high + 1


def test_summary() -> None:
    keys = ["p50", "p90", "p99", "n"]
    shown = {n: percentiles.summarize(np.full(n, 2_000_000, np.int64)).to_json() for n in (10, 100, 700)}
    assert [shown[10][key] for key in keys] == [None, None, None, 10]
    assert [shown[100][key] for key in keys] == [2.0, 2.0, None, 100]
    assert [shown[700][key] for key in keys] == [2.0, 2.0, 2.0, 700]
    assert shown[100]["p90_ci"] == [2.0, 2.0]
    assert shown[100]["p99_ci"] is None, "an interval of a percentile that is not printed"


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [11, 64, 100, 662, 1000, 5000])
def test_ranks_are_the_tightest_binomial_ones(n: int, quantile: float) -> None:
    """P(x_low > q) and P(x_high < q) are at most 2.5 %, and one rank further in they would not be."""
    stats = pytest.importorskip("scipy.stats")
    low, high = percentiles.ranks(n, quantile)
    below = stats.binom(n, quantile).cdf
    assert below(low - 1) <= 0.025 < below(low)
    assert 1 - below(high - 1) <= 0.025 < 1 - below(high - 2)


def test_the_interval_of_independent_calls_is_the_order_statistics() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1, 101)).astype(np.int64) * 1_000_000
    assert percentiles.interval_ms(samples, 0.5) == (40.0, 61.0)


def test_the_ends_mirror_each_other() -> None:
    """Six calls' worth among 600: the upper end was once the slowest of all calls, the lower one the 17 % quantile."""
    rng, number = np.random.default_rng(2), 10
    luck = np.repeat(rng.normal(0, 1, number), 60)
    samples = (1e6 * (50 + luck + rng.normal(0, 0.1, 600))).astype(np.int64)
    rounds, most = np.repeat(np.arange(number), 60), 10**8
    low, high = percentiles.interval_ms(samples, 0.5, rounds)
    assert low is not None
    assert high is not None
    mirrored = percentiles.interval_ms(most - samples, 0.5, rounds)
    assert mirrored == pytest.approx([most / 1e6 - high, most / 1e6 - low], abs=1e-9)
    beyond = int((samples > high * 1e6).sum())
    assert beyond == int((samples < low * 1e6).sum())
    assert beyond > 20


def test_an_end_that_nothing_bounds_is_none() -> None:
    samples = np.arange(1, 65, dtype=np.int64) * 1_000_000
    low, high = percentiles.interval_ms(samples, 0.99)
    assert low is not None
    assert high is None
    assert percentiles.interval_ms(samples[:3], 0.5) == (None, None)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_independent_calls_cover(quantile: float) -> None:
    rng, truth, hits = np.random.default_rng(3), -math.log(1 - quantile) * 1e6, 0
    for _ in range(400):
        samples = rng.exponential(1e6, 200).astype(np.int64)
        low, high = percentiles.interval_ms(samples, quantile)
        assert low is not None
        assert high is not None
        hits += low * 1e6 <= truth <= high * 1e6
    assert 0.93 <= hits / 400 <= 0.99


@pytest.mark.parametrize("luck", [0.0, 0.01, 0.02])
@pytest.mark.parametrize(("quantile", "z"), [(0.5, 0.0), (0.9, 1.2815516)])
def test_intervals_from_ten_rounds_cover(quantile: float, z: float, luck: float) -> None:
    """Independent calls and calls whose rounds differ. The bound is two standard errors of 400 runs below 95 %."""
    rng, rounds, hits = np.random.default_rng(11), np.repeat(np.arange(10), 100), 0
    truth = 1e6 * (1 + z * math.hypot(0.02, luck))
    for _ in range(400):
        shared = np.repeat(rng.normal(0, luck, 10), 100) if luck else 0.0
        samples = (1e6 * (1 + shared + rng.normal(0, 0.02, 1000))).astype(np.int64)
        low, high = percentiles.interval_ms(samples, quantile, rounds)
        hits += (low is None or low * 1e6 <= truth) and (high is None or high * 1e6 >= truth)
    assert hits / 400 >= 0.928


@pytest.mark.parametrize("number", [4, 7, 10])
def test_calls_that_share_the_luck_of_their_round_cover_too(number: int) -> None:
    """Each round is slower or faster as a whole, which the plain binomial interval ignores: it covers a third."""
    rng, rounds, hits, naive = np.random.default_rng(number), np.repeat(np.arange(number), 100), 0, 0
    for _ in range(300):
        luck = np.repeat(rng.normal(0, 0.02, number), 100)
        samples = (1e6 * np.exp(luck + rng.normal(0, 0.02, number * 100))).astype(np.int64)
        for named in (rounds, None):
            low, high = percentiles.interval_ms(samples, 0.5, named)
            inside = (low is None or low <= 1) and (high is None or high >= 1)
            hits, naive = hits + (inside and named is rounds), naive + (inside and named is None)
    assert hits / 300 >= 0.92
    assert naive / 300 < 0.7


def test_a_planted_tail_shows_in_p99_and_not_in_p50() -> None:
    """1 % of the calls take ten times as long. p99 lies on the edge, so its interval must reach the tail; with a few
    more such calls the percentile itself does."""
    rng = np.random.default_rng(1)
    quiet = (1e6 * rng.lognormal(0, 0.02, 1000)).astype(np.int64)
    clean = percentiles.summarize(quiet).to_json()
    for every, edge in ((100, True), (80, False)):
        planted = quiet.copy()
        planted[::every] *= 10
        found = percentiles.summarize(planted).to_json()
        assert found["p50"] == pytest.approx(clean["p50"], rel=0.005)
        assert found["p99_ci"][1] > 8 * clean["p99"]
        assert edge or found["p99"] > 8 * clean["p99"]


def test_no_outlier_is_removed() -> None:
    samples = np.full(1000, 1_000_000, np.int64)
    samples[:20] = 10**12
    assert percentiles.summarize(samples).p99 == 1e6
