"""Whom the objective picks, of made-up latencies: what is provably better wins, what is as good is ranked."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from edge_tl.device.bench.latency import Timings
from edge_tl.device.bundle import Artifact
from edge_tl.device.records.timing import RanRecord
from edge_tl.device.tuning.choice import decide
from edge_tl.device.tuning.configurations import Configuration
from edge_tl.device.tuning.options import TuneOptions
from edge_tl.device.tuning.timing import Entry


class File:
    def __init__(self, size: int) -> None:
        self.bytes = size


class Made:
    """As much of an artifact as a choice reads."""

    def __init__(self, name: str, accuracy: float, size: int) -> None:
        self.id, self.accuracy, self.files, self.record, self.runtime = (
            name,
            accuracy,
            (File(size),),
            self,
            "r",
        )


def entry(
    name: str,
    ms: float,
    *,
    accuracy: float = 0.9,
    size: int = 10,
    threads: int = 2,
    noise: float = 0.005,
    seed: int = 0,
    shortlisted: bool = True,
    costs: tuple[float, ...] = (),
) -> Entry:
    """Seven rounds of four blocks around `ms`; each round is off by `noise`, as a fresh process is."""
    rng = np.random.default_rng(seed)
    blocks, rounds = [], []
    for number in range(1, 8):
        luck = np.exp(rng.normal(0, noise))
        for _ in range(4):
            blocks.append((1e6 * ms * luck * np.exp(rng.normal(0, 0.01, 20))).astype(np.int64))
            rounds.append(number)
    artifact = cast(Artifact, Made(name, accuracy, size))
    ran = RanRecord("CPU", "fp32", threads)
    timings = Timings(blocks, rounds)
    return Entry(Configuration(artifact, "CPU", threads), timings, ran, list(costs), shortlisted)


def pick(*entries: Entry, **options: Any) -> str | None:
    found = decide(entries, TuneOptions(**options)).pick
    return found.configuration.artifact.id if found else None


def test_who_is_provably_faster_is_picked_whatever_its_accuracy() -> None:
    entries = (entry("fp32", 2.0, accuracy=0.95, seed=1), entry("int8", 1.0, accuracy=0.90, seed=2))
    choice = decide(entries, TuneOptions())
    assert choice.pick is entries[1]
    (over,) = choice.over
    assert over.ratio == pytest.approx(2.0, rel=0.02)
    assert over.ratio_ci is not None
    assert over.ratio_ci[0] < 2.0 < over.ratio_ci[1]
    assert over.reason == f"{over.ratio:.2f} times the pick's latency"


def test_of_those_that_are_as_fast_the_more_accurate_then_the_smaller_then_fewer_threads() -> None:
    a = entry("a", 1.0, accuracy=0.90, size=1, seed=1)
    assert pick(a, entry("b", 1.0, accuracy=0.91, size=9, seed=2)) == "b"
    assert pick(a, entry("b", 1.0, accuracy=0.90, size=0, seed=2)) == "b"
    few = entry("few", 1.0, accuracy=0.90, size=1, threads=1, seed=2)
    assert pick(a, few) == "few"
    reasons = {over.artifact: over.reason for over in decide((a, few), TuneOptions()).over}
    assert reasons == {"a": "as good in speed; it takes more threads"}
    more = decide((a, entry("b", 1.0, accuracy=0.91, seed=2)), TuneOptions())
    assert more.over[0].reason == "as good in speed; 1.00 pp less accurate"


def test_a_wide_interval_is_no_reason_to_take_what_looks_half_as_fast() -> None:
    slow = entry("accurate", 2.0, accuracy=0.99, noise=1.0, seed=5)
    fast = entry("fast", 1.0, accuracy=0.5, noise=1.0, seed=6)
    choice = decide((slow, fast), TuneOptions())
    assert choice.over[0].ratio_ci is not None
    assert choice.over[0].ratio_ci[0] < 1
    assert choice.pick is fast
    assert choice.over[0].reason.endswith("not proven")


def test_beyond_the_limit_it_is_passed_over_and_the_nearest_is_named() -> None:
    fast, slow = entry("fast", 1.0, seed=1), entry("slow", 3.0, accuracy=0.99, seed=2)
    fast.timings.blocks = [np.where(np.arange(20) < 2, 9_000_000, block) for block in fast.timings.blocks]
    assert pick(fast, slow) == "fast"
    choice = decide((fast, slow), TuneOptions(max_p95_ms=4.0))
    assert choice.pick is slow
    assert choice.over[0].reason == "its p95 is 9.00 ms, over the limit of 4 ms"
    far = entry("far", 9.0)
    far.shortlisted = False
    nothing = decide((fast, slow, far), TuneOptions(max_p95_ms=0.5))
    assert nothing.pick is None
    assert nothing.nearest is slow
    assert [over.artifact for over in nothing.over] == ["slow", "fast", "far"]
    assert (
        "times slow's latency in a first look" in nothing.over[2].reason
    )  # there is no pick to compare with


def test_too_few_calls_for_a_p95_are_held_to_the_slowest() -> None:
    few = entry("few", 1.0)
    few.timings = Timings([few.timings.blocks[0]], [1])
    few.timings.blocks[0][3] = 7_000_000
    assert pick(few, max_p95_ms=8.0) == "few"
    (over,) = decide((few,), TuneOptions(max_p95_ms=5.0)).over
    assert (
        over.reason == "the slowest of its 20 calls, too few for a p95, took 7.00 ms, over the limit of 5 ms"
    )


def test_by_another_objective_its_own_figure_decides() -> None:
    a = entry("a", 1.0, costs=(3e6, 3.01e6, 2.99e6), seed=1)
    b = entry("b", 2.0, costs=(2e6, 2.01e6, 1.99e6), seed=2)
    choice = decide((a, b), TuneOptions(objective="throughput"))
    assert choice.pick is b
    assert choice.over[0].images_per_s == pytest.approx(1e9 / 3e6)
    assert choice.over[0].ratio == pytest.approx(1.5, rel=0.01)
    mib = 2.0**20
    small = entry("small", 2.0, costs=(100 * mib,) * 3, seed=1)
    fast = entry("fast", 1.0, costs=(100.5 * mib,) * 3, seed=2)
    assert pick(small, fast, objective="memory") == "fast", "half a MiB of a hundred is the same"
    assert pick(small, entry("big", 1.0, costs=(150 * mib,) * 3), objective="memory") == "small"


def test_who_was_only_screened_is_never_picked() -> None:
    screened = entry("screened", 0.5, shortlisted=False)
    choice = decide((entry("a", 1.0), screened), TuneOptions())
    assert choice.pick is not screened
    assert "in a first look; not measured further" in choice.over[0].reason
    assert choice.over[0].ratio_ci is None
