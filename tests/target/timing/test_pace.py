"""Arrivals on a schedule, against a clock that is made up: what is late, what waits, what is never served."""

from __future__ import annotations

import pytest

from edge_tl.target.timing.pace import at_pace, judged, service_ns

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

    def run(self, fps: float | None, seconds: float) -> dict[str, list[int]]:
        return at_pace(self.call, fps=fps, seconds=seconds, clock=self.clock, sleep=self.sleep)


def test_on_time() -> None:
    run = World(20).run(10, 1)
    assert run["intended_ns"] == run["start_ns"] == [100 * MS * i for i in range(10)]
    assert [end - start for start, end in zip(run["start_ns"], run["end_ns"], strict=True)] == [20 * MS] * 10


def test_a_late_call_delays_those_after_it_and_that_counts() -> None:
    """No coordinated omission: one call of 350 ms, and the three behind it are late although each takes 20."""
    run = World(350, 20).run(10, 1)
    found = judged([run], deadline_ms=100)
    late = [(e - d) / MS for d, e in zip(run["intended_ns"], run["end_ns"], strict=True)]
    assert late == pytest.approx([350, 270, 190, 110, 30, 20, 20, 20, 20, 20])
    assert found["missed"] == 4
    assert found["n"] == 10
    assert found["queue_ms"]["longest"] == pytest.approx(250)
    assert service_ns(run).tolist() == [350 * MS] + [20 * MS] * 9


def test_a_pace_that_cannot_be_kept() -> None:
    """150 ms a call, ten a second for two seconds: a second after the last arrival is due the rest are given up."""
    run = World(150).run(10, 2)
    found = judged([run], deadline_ms=100)
    assert found["n"] == 20
    assert len(run["start_ns"]) == 20, "all are served within the second of grace"
    worse = World(500).run(10, 2)
    found = judged([worse], deadline_ms=100)
    assert (found["n"], found["unserved"], found["missed"]) == (20, 13, 20)
    assert len(worse["start_ns"]) == len(worse["end_ns"]) == 7


def test_back_to_back_has_no_schedule() -> None:
    run = World(30).run(None, 1)
    assert run["intended_ns"] == run["start_ns"] == [30 * MS * i for i in range(34)]
    found = judged([run], deadline_ms=None)
    assert (found["missed"], found["unserved"], found["queue_ms"]["longest"]) == (0, 0, 0)


def test_percentiles_count_from_the_intended_time() -> None:
    run = World(150).run(10, 2)
    found = judged([run], deadline_ms=None)
    assert found["service_ms"]["p50"] == pytest.approx(150)
    assert found["latency_ms"]["p50"] == pytest.approx(150 + 9 * 50)


def test_fewer_than_one_arrival_is_one() -> None:
    assert len(World(1).run(0.1, 1)["start_ns"]) == 1
