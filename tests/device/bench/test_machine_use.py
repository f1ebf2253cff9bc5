"""What others used of this machine's cores, from planted counters and beside a real busy process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.bench import ratio
from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.machine_use import CpuUsage, as_proven, busy_reason, cpu_usage
from edge_tl.device.records.bench import SpeedupRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, UsageRecord

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux counts")


def test_counters_of_the_allowed_cores_only(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    allowed = min(os.sched_getaffinity(0))
    (tmp_path / "proc/stat").write_text(
        f"cpu 9 9 9 9 9 9 9 9\ncpu{allowed} 200 0 100 5000 7 0 0 50 0 0\ncpu9999 900 0 0 0 0 0 0 0 0 0\nintr 1\n"
    )
    found = cpu_usage(tmp_path)
    assert found is not None
    tick = os.sysconf("SC_CLK_TCK")
    assert (found.everybody, found.stolen, found.cores) == (300 / tick, 50 / tick, 1)
    assert cpu_usage(tmp_path / "absent") is None


def test_own_work_is_not_the_others() -> None:
    before, after = CpuUsage(10, 2, 0, 100, 2), CpuUsage(30, 14, 1, 110, 2)
    assert before.until(after).to_json() == {
        "others": pytest.approx(0.8),
        "stolen": pytest.approx(0.1),
        "cores": 2,
    }


def test_busy_is_a_fifth_of_the_cores() -> None:
    def used(others: float, stolen: float) -> ConditionsRecord | None:
        return ConditionsRecord(
            LoadRecord(), LoadRecord(), UsageRecord(others=others, stolen=stolen, cores=2.0)
        )

    assert busy_reason(used(0.3, 0.0)) is None
    assert "0.5 of 2 cores" in str(busy_reason(used(0.5, 0.0)))
    assert "hypervisor" in str(busy_reason(used(0.0, 0.5)))
    assert busy_reason(ConditionsRecord(LoadRecord(), LoadRecord(), None)) is busy_reason(None) is None


def test_a_busy_process_beside_this_one_is_seen() -> None:
    """Its own child processes count as others only while they live: what is timed has ended when this is asked."""
    with CpuLoad(1):
        before = cpu_usage()
        time.sleep(0.5)
        after = cpu_usage()
    assert before
    assert after
    assert before.until(after).others > 0.1


def test_one_busy_core_of_many_decides_nothing() -> None:
    """Steady work on one of eight cores meets both sides alike; on one of two it does not leave a speed."""
    for cores, busy in ((8, False), (16, False), (4, True), (2, True)):
        used = UsageRecord(others=1.0, stolen=0.0, cores=float(cores))
        reason = busy_reason(ConditionsRecord(LoadRecord(), LoadRecord(), used))
        assert bool(reason) is busy


def test_load_decides_only_where_nothing_better_is_known() -> None:
    after = ConditionsRecord(LoadRecord(), LoadRecord(load1=12.0))
    assert busy_reason(after, 2) == "this machine is busy (load 12.0 on 2 cores)"
    assert busy_reason(after, 16) is busy_reason(after) is None
    own = ConditionsRecord(LoadRecord(load1=12.0), LoadRecord(load1=2.4))
    assert busy_reason(own, 2) is None, "what was timed loads the machine itself, and so did what came before"
    quiet = ConditionsRecord(LoadRecord(), LoadRecord(load1=12.0), UsageRecord(0.1, 0.0, 2.0))
    assert busy_reason(quiet, 2) is None, "a container sees the load of its whole host"


def test_an_unsteady_machine_is_seen_without_counters() -> None:
    """Blocks differ from each other by factors, as where others come and go."""
    rng = np.random.default_rng(0)
    rounds = [number for number in range(5) for _ in range(4)]
    steady = [np.full(4, 1_000_000, np.int64) for _ in rounds]
    torn = [(block * rng.lognormal(0, 1.0)).astype(np.int64) for block in steady]
    assert ratio.against_itself(steady, rounds) == (1.0, 1.0)
    ends = ratio.against_itself(torn, rounds)
    assert ends is not None
    assert busy_reason(ConditionsRecord(LoadRecord(), LoadRecord(), None, ends))
    assert ratio.against_itself(steady[::4], [0, 1, 2, 3, 4]) is None, "one block a round has no second"


def test_what_is_not_proven_is_no_figure() -> None:
    found = SpeedupRecord(speedup=2.0, speedup_ci=(1.9, 2.1), distinguishable=True)
    assert as_proven(found, None) is found
    assert as_proven(found, "busy") == SpeedupRecord(not_judged="busy")
    wide = as_proven(SpeedupRecord(speedup=139.5, speedup_ci=(8.6, 2275.0), distinguishable=True), None)
    assert wide.speedup is wide.distinguishable is None
    assert "[8.6, 2,275.0]" in str(wide.not_judged)
    alone = as_proven(SpeedupRecord(speedup=2.0), None)
    assert alone == SpeedupRecord(not_judged="fewer than three rounds give it no interval")
    assert as_proven(SpeedupRecord(), "busy") == SpeedupRecord(), "what was not timed needs no reason"
