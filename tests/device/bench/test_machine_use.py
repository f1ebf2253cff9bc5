"""What others used of this machine's cores, from planted counters and beside a real busy process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.machine_use import CpuUsage, busy_reason, cpu_usage
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
