"""The timer counts calls and refuses percentiles it cannot support. Nothing here asserts a duration."""

from __future__ import annotations

import gc
import math
from fractions import Fraction

import numpy as np
import pytest

from edge_tl.target import latency


class Counter:
    """A callable that knows how often it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.collecting: list[bool] = []

    def __call__(self) -> None:
        self.calls += 1
        self.collecting.append(gc.isenabled())


@pytest.mark.parametrize(("warmup", "count"), [(0, 1), (3, 7), (10, 100)])
def test_warmup_is_called_and_dropped(warmup: int, count: int) -> None:
    call = Counter()
    samples = latency.time_calls(call, warmup=warmup, count=count)
    assert call.calls == warmup + count
    assert samples.shape == (count,)
    assert samples.dtype == np.int64
    assert (samples >= 0).all()


def test_seconds_stop_early_but_not_before_one_call() -> None:
    call = Counter()
    samples = latency.time_calls(call, warmup=2, count=10_000, seconds=0.0)
    assert 1 <= len(samples) < 10_000
    assert call.calls == 2 + len(samples)


def test_a_fake_clock_gives_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline (at 100 ns), then start and end of each call: 10, 20 and 70 ns; the third ends past it."""
    ticks = iter([0, 0, 10, 10, 30, 40, 110, 999, 9999])
    monkeypatch.setattr(latency, "perf_counter_ns", lambda: next(ticks))
    samples = latency.time_calls(lambda: None, warmup=0, count=50, seconds=100e-9)
    assert samples.tolist() == [10, 20, 70]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_and_put_back(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        call = Counter()
        latency.time_calls(call, warmup=0, count=5)
        assert call.collecting == [False] * 5
        assert gc.isenabled() is enabled

        def fail() -> None:
            raise RuntimeError("the model broke")

        with pytest.raises(RuntimeError, match="the model broke"):
            latency.time_calls(fail, warmup=0, count=5)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 11), (0.9, 64), (0.99, 662), (0.999, 6636)])
def test_counts_are_mlperfs(quantile: float, count: int) -> None:
    assert latency.count_needed(quantile) == count

    def at_most_one_above(n: int) -> Fraction:  # the definition, exactly
        q = Fraction(str(quantile))
        return q**n + n * (1 - q) * q ** (n - 1)

    assert at_most_one_above(count) <= Fraction(1, 100) < at_most_one_above(count - 1)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_percentile_needs_its_count(quantile: float) -> None:
    needed = latency.count_needed(quantile)
    samples = np.arange(1, needed + 1, dtype=np.int64) * 1_000_000
    assert latency.percentile_ms(samples[:-1], quantile) is None
    assert latency.percentile_ms(samples, quantile) is not None


@pytest.mark.parametrize("n", [662, 663, 700, 999, 1000])
@pytest.mark.parametrize("quantile", ["0.5", "0.9", "0.99"])
def test_percentiles_are_nearest_rank(n: int, quantile: str) -> None:
    samples = np.random.default_rng(n).permutation(n).astype(np.int64) * 1_000_000
    got = latency.percentile_ms(samples, float(quantile))
    assert got == sorted(samples.tolist())[math.ceil(Fraction(quantile) * n) - 1] / 1e6
    low, high = (np.percentile(samples, 100 * float(quantile), method=m) / 1e6 for m in ("lower", "higher"))
    assert low - 1 <= got <= high + 1


def test_summary() -> None:
    few = latency.summarize(np.full(10, 2_000_000, np.int64))
    assert few == {"p50": None, "p90": None, "p99": None, "n": 10}
    some = latency.summarize(np.full(100, 2_000_000, np.int64))
    assert some == {"p50": 2.0, "p90": 2.0, "p99": None, "n": 100}
    many = latency.summarize(np.full(700, 2_000_000, np.int64))
    assert many == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "n": 700}


def _blocks(rng: np.random.Generator, rounds: int, ratio: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Blocks of 60 calls with a heavy tail; each round is slowed by its own factor, on both sides alike."""
    slow = rng.lognormal(0, 0.5, rounds)
    calls = rng.lognormal(0, 0.2, (2, rounds, 60)) * 1e6
    base = [np.rint(calls[0, i] * slow[i] * ratio).astype(np.int64) for i in range(rounds)]
    return base, [np.rint(calls[1, i] * slow[i]).astype(np.int64) for i in range(rounds)]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.7])
def test_the_interval_contains_the_true_speedup(ratio: float) -> None:
    """95 % nominal; a percentile bootstrap over eight rounds gives somewhat less, and never by this much."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(60):
        got = latency.speedup(*_blocks(rng, 8, ratio), seed=trial)
        low, high = got["speedup_ci"]
        assert low <= got["speedup"] <= high
        hits += low <= ratio <= high
        assert got["speedup"] == pytest.approx(ratio, rel=0.15), "a slow round moved the estimate"
    assert hits >= 0.85 * 60


def test_speedup_is_seeded_and_directed() -> None:
    slow, fast = _blocks(np.random.default_rng(1), 5, 4.0)
    assert latency.speedup(slow, fast, seed=3) == latency.speedup(slow, fast, seed=3)
    assert latency.speedup(slow, fast)["speedup"] > 3
    assert latency.speedup(fast, slow)["speedup"] < 0.34
    assert latency.speedup(slow, slow) == {"speedup": 1.0, "speedup_ci": [1.0, 1.0]}


def test_one_long_pause_does_not_move_the_speedup() -> None:
    """A median keeps the tail out of the estimate; the percentiles show it."""
    slow, fast = _blocks(np.random.default_rng(1), 5, 4.0)
    expected = latency.speedup(slow, fast)
    for blocks in (slow, fast):
        blocks[2][blocks[2].argmax()] *= 10_000
    assert latency.speedup(slow, fast) == expected


def test_two_rounds_have_no_interval_and_none_have_no_speedup() -> None:
    slow, fast = _blocks(np.random.default_rng(1), 2, 4.0)
    assert latency.speedup(slow, fast)["speedup_ci"] is None
    assert latency.speedup([], []) == {"speedup": None, "speedup_ci": None}
    with pytest.raises(ValueError, match="zip"):
        latency.speedup(slow, fast[:1])
