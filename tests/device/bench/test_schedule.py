"""Arrivals on a schedule, against a clock that is made up: what is late, what waits, what is never served."""

from __future__ import annotations

from itertools import count, pairwise
from typing import Any

import pytest

from edge_tl.device.bench.schedule import KEPT, Clock, call_at_rate, rate_statistics, service_ns
from edge_tl.device.records.paced import PacedRun

MS = 1_000_000


class World:
    """A clock that only sleeping and calls move; each call takes the next of `takes` milliseconds, then the last."""

    def __init__(self, *takes: float) -> None:
        self.now, self.takes, self.calls = 5_000, list(takes), 0

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def call(self) -> None:
        take = self.takes[min(self.calls, len(self.takes) - 1)]
        self.now += round(take * MS)
        self.calls += 1

    def run(self, fps: float | None, seconds: float, **options: Any) -> PacedRun:
        clock = Clock(self.clock, self.sleep)
        return call_at_rate(self.call, fps=fps, seconds=seconds, clock=clock, **options)


def test_on_time() -> None:
    run = World(20).run(10, 1)
    assert list(run.intended_ns) == list(run.start_ns) == [100 * MS * i for i in range(10)]
    assert [end - start for start, end in zip(run.start_ns, run.end_ns, strict=True)] == [20 * MS] * 10


def test_a_late_call_delays_those_after_it_and_that_counts() -> None:
    """No coordinated omission: one call of 350 ms, and the three behind it are late although each takes 20."""
    run = World(350, 20).run(10, 1, deadline_ms=100)
    found = rate_statistics([run], deadline_ms=100)
    late = [(e - d) / MS for d, e in zip(run.intended_ns, run.end_ns, strict=True)]
    assert late == pytest.approx([350, 270, 190, 110, 30, 20, 20, 20, 20, 20])
    assert found.missed == 4
    assert found.n == 10
    assert found.queue_ms.longest == pytest.approx(250)
    assert service_ns(run).tolist() == [350 * MS] + [20 * MS] * 9


def test_a_pace_that_cannot_be_kept() -> None:
    """150 ms a call, ten a second for two seconds: a second after the last arrival is due the rest are given up."""
    run = World(150).run(10, 2, deadline_ms=100)
    found = rate_statistics([run], deadline_ms=100)
    assert found.n == 20
    assert len(run.start_ns) == 20, "all are served within the second of grace"
    worse = World(500).run(10, 2, deadline_ms=100)
    found = rate_statistics([worse], deadline_ms=100)
    assert (found.n, found.unserved, found.missed) == (20, 13, 20)
    assert len(worse.start_ns) == len(worse.end_ns) == 7


def test_back_to_back_has_no_schedule() -> None:
    run = World(30).run(None, 1)
    assert list(run.intended_ns) == list(run.start_ns) == [30 * MS * i for i in range(34)]
    found = rate_statistics([run], deadline_ms=None)
    assert (found.missed, found.unserved, found.queue_ms.longest) == (0, 0, 0)


def test_percentiles_count_from_the_intended_time() -> None:
    run = World(150).run(10, 2)
    found = rate_statistics([run], deadline_ms=None)
    assert found.service_ms.p50 == pytest.approx(150)
    assert found.latency_ms.p50 == pytest.approx(150 + 9 * 50)


def test_fewer_than_one_arrival_is_one() -> None:
    assert len(World(1).run(0.1, 1).start_ns) == 1


def test_a_run_back_to_back_lasts_to_its_end_however_many_calls_that_is() -> None:
    """0.24 ms a call for ten minutes: 2.5 million calls, which once ended at two million, without a word."""
    clock = count(0, 120_000)  # read twice a call
    run = call_at_rate(lambda: None, fps=None, seconds=600, clock=Clock(clock.__next__))
    assert run.calls == run.arrivals == 2_500_000
    assert run.every == 64
    assert KEPT / 2 <= len(run.start_ns) <= KEPT
    assert list(run.start_ns) == [120_000 + 240_000 * i for i in range(0, 2_500_000, 64)], (
        "an even subsample, to the last"
    )
    found = rate_statistics([run], deadline_ms=None)
    assert found.n == 2_500_000
    assert found.latency_ms.n == len(run.end_ns) == len(run.intended_ns)


@pytest.mark.parametrize("kept", [2, 3, 5, 8])
@pytest.mark.parametrize("calls", [1, 2, 3, 7, 8, 9, 33])
def test_what_is_kept_is_every_so_manyth(kept: int, calls: int) -> None:
    for run in (World(10).run(None, calls / 100, kept=kept), World(1).run(100, calls / 100, kept=kept)):
        assert run.calls == calls
        assert list(run.start_ns) == [10 * MS * i for i in range(0, calls, run.every)]
        assert len(run.start_ns) <= kept
        assert run.every == 1 or calls > kept


def test_counts_are_of_all_arrivals_also_where_few_are_kept() -> None:
    """The one late call and those behind it are not among the kept; every one of them counts all the same."""
    takes = [20.0] * 11 + [350.0] + [20.0] * 88
    few, all_of_them = (World(*takes).run(10, 10, deadline_ms=100, kept=kept) for kept in (4, 1000))
    assert (few.every, all_of_them.every) == (25, 1)
    found, whole = rate_statistics([few], deadline_ms=100), rate_statistics([all_of_them], deadline_ms=100)
    assert (found.n, found.missed, found.unserved, found.queue_ms) == (
        whole.n, whole.missed, whole.unserved, whole.queue_ms
    )  # fmt: skip
    assert (found.n, found.missed) == (100, 4)
    assert found.queue_ms.longest == pytest.approx(250)
    assert (found.latency_ms.n, whole.latency_ms.n) == (4, 100)


def test_unserved_arrivals_are_counted_also_where_few_are_kept() -> None:
    run = World(500).run(10, 2, deadline_ms=100, kept=5)
    found = rate_statistics([run], deadline_ms=100)
    assert (run.every, found.n, found.unserved, found.missed) == (4, 20, 13, 20)
    assert len(run.start_ns) == len(run.end_ns) == 2, "calls 0 and 4 of 7"
    assert {b - a for a, b in pairwise(run.intended_ns)} == {400 * MS}
