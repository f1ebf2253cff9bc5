"""The picture of saved benches: what was timed in two ways is never one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.records.bench_comparison import ComparedFile, ComparedRow, ResultsComparison
from edge_tl.device.records.timing import LatencyRecord, RanRecord
from edge_tl.host.reports.bench_plot import write_bench_plot

NONE = LatencyRecord(n=3)


def row(number: int, how: str, ms: LatencyRecord) -> ComparedRow:
    return ComparedRow(
        artifact="onnx-fp32", how=how, number=number, latency_ms=ms, figure="latency", file="f",
        is_base=not number, in_base=True, images_per_s=None, ran=RanRecord("CPU", "fp32", 2), same_machine=True,
        alike=True, changed=(), slowdown=None, slowdown_ci=None, distinguishable=None,
    )  # fmt: skip


def comparison(*rows: ComparedRow) -> ResultsComparison:
    files = tuple(
        ComparedFile(file="f", date=f"2026-01-0{day}T00:00:00+00:00", machine="m", kind="latency", load1=None)
        for day in (1, 2)
    )
    return ResultsComparison(
        base="f", files=files, rows=rows, missing=(), not_compared=(), limit=None, gates=(), passed=True
    )


def test_each_way_of_timing_has_a_panel(tmp_path: Path) -> None:
    ms = LatencyRecord(p50=10.0, p50_ci=(9.0, None))
    rows = [row(0, "back to back", ms), row(0, "10 a second", ms), row(1, "30 a second", ms)]
    write_bench_plot(comparison(*rows, row(0, "throughput", NONE)), tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    for title in (">onnx-fp32<", ">onnx-fp32, 10 a second<", ">onnx-fp32, 30 a second<"):
        assert title in text
    assert "throughput" not in text, "it has no latency"
    with pytest.raises(BadInput, match="no artifact has a median"):
        write_bench_plot(comparison(row(0, "throughput", NONE)), tmp_path / "q.svg")
