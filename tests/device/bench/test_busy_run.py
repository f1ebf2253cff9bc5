"""A real bench with four busy processes beside it: nothing in it or in its table is a speed-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.machine import cores_allowed

pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux counts")
def test_beside_four_busy_processes_no_speed_is_judged(assets: Path) -> None:
    spec = {"device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    names = ("tiny.onnx", "tiny.int8.onnx")
    field = [Workload(name, WORKER, spec | {"path": str(assets / name)}) for name in names]
    with CpuLoad(max(4, cores_allowed())):
        result = time_interleaved(field, effort=Effort(rounds=3, count=5, blocks=4))
    rows = [row for row in result.artifacts if row.id != result.baseline]
    assert len(rows) == 1
    for row in rows:
        assert (row.speedup, row.speedup_ci, row.distinguishable) == (None, None, None)
        assert "this machine is busy" in str(row.not_judged)
        assert row.latency_ms.p50 is not None
        assert row.latency_ms.p50 > 0
    assert result.conditions is not None
    assert result.conditions.during is not None
    assert result.conditions.during.others > 0.2 * result.conditions.during.cores
