"""The picture of saved benches: what was timed in two ways is never one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.reports.bench_plot import write_bench_plot

NONE = {"p50": None, "p90": None, "p99": None, "n": 3}


def row(number: int, how: str, ms: dict[str, Any]) -> dict[str, Any]:
    return {"artifact": "onnx-fp32", "how": how, "number": number, "latency_ms": ms}


def test_each_way_of_timing_has_a_panel(tmp_path: Path) -> None:
    ms = {"p50": 10.0, "p50_ci": [9.0, None]}
    files = [{"date": f"2026-01-0{day}T00:00:00+00:00", "machine": "m"} for day in (1, 2)]
    rows = [row(0, "back to back", ms), row(0, "10 a second", ms), row(1, "30 a second", ms)]
    write_bench_plot({"files": files, "rows": [*rows, row(0, "throughput", NONE)]}, tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    for title in (">onnx-fp32<", ">onnx-fp32, 10 a second<", ">onnx-fp32, 30 a second<"):
        assert title in text
    assert "throughput" not in text, "it has no latency"
    with pytest.raises(BadInput, match="no artifact has a median"):
        write_bench_plot({"files": files, "rows": [row(0, "throughput", NONE)]}, tmp_path / "q.svg")
