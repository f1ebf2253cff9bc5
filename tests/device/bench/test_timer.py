"""The timer counts calls and times each. Nothing here asserts a duration."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from edge_tl.device.bench import timer


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
    samples = timer.time_calls(call, warmup=warmup, count=count)
    assert call.calls == warmup + count
    assert samples.shape == (count,)
    assert samples.dtype == np.int64
    assert (samples >= 0).all()


def test_seconds_stop_early_but_not_before_one_call() -> None:
    call = Counter()
    samples = timer.time_calls(call, warmup=2, count=10_000, seconds=0.0)
    assert 1 <= len(samples) < 10_000
    assert call.calls == 2 + len(samples)


def test_a_fake_clock_gives_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline (at 100 ns), then start and end of each call: 10, 20 and 70 ns; the third ends past it."""
    ticks = iter([0, 0, 10, 10, 30, 40, 110, 999, 9999])
    monkeypatch.setattr(timer, "perf_counter_ns", lambda: next(ticks))
    samples = timer.time_calls(lambda: None, warmup=0, count=50, seconds=100e-9)
    assert samples.tolist() == [10, 20, 70]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_and_put_back(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        call = Counter()
        timer.time_calls(call, warmup=0, count=5)
        assert call.collecting == [False] * 5
        assert gc.isenabled() is enabled

        def fail() -> None:
            raise RuntimeError("the model broke")

        with pytest.raises(RuntimeError, match="the model broke"):
            timer.time_calls(fail, warmup=0, count=5)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
