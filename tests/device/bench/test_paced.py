"""A real tiny model at a rate, beside load, and for a while; and the arithmetic of first and last minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening

from edge_tl.device.bench import cpu_load
from edge_tl.device.bench.latency import Timings
from edge_tl.device.bench.paced import (
    BACK_TO_BACK,
    COUNT,
    MOST,
    Arrivals,
    Condition,
    _timing,
    block_calls,
    first_and_last,
    time_paced,
    time_sustained,
)
from edge_tl.device.bench.percentiles import count_needed
from edge_tl.device.bench.schedule import KEPT
from edge_tl.device.bench.worker_messages import Ready
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.records.bench import SCHEMA
from edge_tl.device.records.paced import PacedRun
from edge_tl.device.records.timing import RanRecord


def paced_result(
    workloads: list[Workload], arrivals: Arrivals = BACK_TO_BACK, **options: Any
) -> dict[str, Any]:
    """The result as it is written."""
    return time_paced(workloads, arrivals, **options).to_json()


def sustained_row(workload: Workload, arrivals: Arrivals = BACK_TO_BACK, **options: Any) -> dict[str, Any]:
    """The only artifact's entry as it is written."""
    rows: list[dict[str, Any]] = time_sustained(workload, arrivals, **options).to_json()["artifacts"]
    (row,) = rows
    return row


@pytest.fixture
def tiny(assets: Path) -> Workload:
    spec = {"path": str(assets / "tiny.onnx"), "device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return Workload("tiny", WORKER, spec)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every busy process that was started."""
    real, seen = cpu_load.subprocess.Popen, []

    def popen(*arguments: Any, **options: Any) -> Any:
        seen.append(real(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(cpu_load.subprocess, "Popen", popen)
    return seen


def test_at_a_rate_beside_a_busy_process(tiny: Workload, started: list[Any]) -> None:
    calls: list[tuple[str, int, int]] = []
    result = paced_result(
        [tiny], Arrivals(50, 1), seconds=0.9, listener=Listening(progress=lambda *state: calls.append(state))
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    (row,) = result["artifacts"]
    assert (result["schema"], result["kind"]) == (SCHEMA, "pace")
    assert row["latency_ms"]["n"] == 3 * row["block_calls"]
    for paced in (row["paced"], row["loaded"]["paced"]):
        assert paced["n"] == 45
        assert paced["deadline_ms"] == 20
        assert len(paced["runs"]) == 3
        assert paced["idle_penalty"] > 0
        assert 0 <= paced["missed"] <= 45
    assert row["loaded"]["neighbours"] == 1
    assert row["loaded"]["slowdown"] > 0
    assert row["speedup"] is None
    assert calls == [("latency", done, 3) for done in (1, 2, 3)]
    timed = [p for p in started if "bytes(block)" in str(p.args)]
    assert len(timed) == 3
    assert all(process.poll() is not None for process in started), "someone is still busy"


def test_load_alone(tiny: Workload) -> None:
    """The blocks of a small model hold what a p99 needs, with the load and without."""
    (row,) = paced_result([tiny], Arrivals(load=1))["artifacts"]
    assert "paced" not in row
    loaded = row["loaded"]
    assert set(loaded) == {
        "neighbours",
        "latency_ms",
        "slowdown",
        "slowdown_ci",
        "slowdown_mean",
        "slowdown_mean_ci",
        "samples_ns",
        "every",
    }
    for mode in (row, loaded):
        assert mode["latency_ms"]["n"] == 3 * row["block_calls"] > count_needed(0.99)
        assert mode["latency_ms"]["p99"] is not None
    assert loaded["slowdown_mean"] > 0
    low, high = loaded["slowdown_mean_ci"]
    assert low <= loaded["slowdown_mean"] <= high


def test_a_block_without_load_is_short(tiny: Workload) -> None:
    (row,) = paced_result([tiny])["artifacts"]
    assert row["latency_ms"]["n"] == 3 * COUNT
    assert (row["block_calls"], row["every"]) == (COUNT, 1)


@pytest.mark.parametrize(
    ("call_ns", "calls"),
    [
        (20_000, 25_000),  # half a second
        (1_000_000, 500),
        (10_000_000, 221),  # a p99 in three rounds, in two seconds
        (50_000_000, 100),  # five seconds: no p99
        (1_000_000_000, COUNT),
        (0, MOST),
    ],
)
def test_a_block_beside_load_lasts(call_ns: int, calls: int) -> None:
    assert block_calls(call_ns, 3, load=1) == calls
    assert block_calls(call_ns, 3, load=0) == COUNT


def test_what_load_does_to_a_small_model_is_in_the_mean() -> None:
    """Half of the time goes to the busy process, in slices of four milliseconds, which one call in forty meets."""
    quiet, busy = Condition(), Condition()
    ready = Ready(load_ns=1, first_ns=1, warmup_calls=1, call_ns=1, ran=RanRecord("CPU", "fp32", 1))
    block = np.full(5000, 100_000, np.int64)
    slower = block + 4_000_000 * (np.arange(5000) % 40 == 7)
    quiet.back_to_back = Timings([block] * 3, [0, 1, 2], [ready] * 3)
    busy.back_to_back = Timings([slower] * 3, [0, 1, 2], [ready] * 3)
    conditions = {0: quiet, 1: busy}
    row = _timing(Workload("x", "", {}), conditions, Arrivals(load=1), 1000).to_json()
    assert row["loaded"]["slowdown"] == pytest.approx(1)
    assert row["loaded"]["slowdown_mean"] == pytest.approx(2)
    assert row["loaded"]["latency_ms"]["n"] == 15_000
    assert [len(block) for block in row["loaded"]["samples_ns"]] == [1000] * 3
    assert row["every"] == row["loaded"]["every"] == 5


def test_busy_processes_end_when_the_model_fails(tmp_path: Path, started: list[Any], tiny: Workload) -> None:
    (tmp_path / "dies.py").write_text(
        "import json, sys\n"
        "print(json.dumps(dict(load_ns=1, first_ns=1, warmup_calls=1, call_ns=1)), flush=True)\n"
        "sys.stdin.readline(); sys.exit('broken')"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        with pytest.raises(EdgeTLError, match="broken"):
            time_paced([Workload("x", "dies", {})], Arrivals(load=2))
    assert all(process.poll() is not None for process in started)


def test_sustained_with_sensors(tiny: Workload, tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    zone.parent.mkdir(parents=True)
    zone.write_text("61000")
    row = sustained_row(tiny, Arrivals(100), minutes=1.2 / 60, root=tmp_path)
    lasted = row["sustained"]
    assert lasted["sensors"]["temperature_c"] == {"first": 61, "min": 61, "max": 61, "last": 61}
    assert lasted["sensors"]["clock_mhz"] is None
    assert len(lasted["readings"]) >= 2
    assert lasted["window_s"] == pytest.approx(0.6)
    assert lasted["first"]["n"] == lasted["last"]["n"] == 60
    assert row["paced"]["n"] == 120
    assert row["paced"]["idle_penalty_ci"] is None, "one process has no interval"
    row = sustained_row(tiny, minutes=0.5 / 60, root=tmp_path)
    assert "paced" not in row
    assert row["sustained"]["first"]["n"] > 0
    assert row["sustained"]["run"]["calls"] >= len(row["sustained"]["run"]["end_ns"])


def test_sustained_beside_load(tiny: Workload, tmp_path: Path, started: list[Any]) -> None:
    """The rate beside the load is compared with back to back beside it, and the quiet number stays."""
    row = sustained_row(tiny, Arrivals(50, 1), minutes=0.4 / 60, root=tmp_path)
    assert "paced" not in row
    assert row["sustained"]["neighbours"] == 1
    assert row["loaded"]["paced"]["n"] == 20
    assert row["loaded"]["latency_ms"]["n"] == row["latency_ms"]["n"] == row["block_calls"] > COUNT
    assert all(process.poll() is not None for process in started)


def run_of(due: list[int], start: list[int], end: list[int]) -> PacedRun:
    """A run of which every call was kept and on time."""
    return PacedRun(
        intended_ns=tuple(due), start_ns=tuple(start), end_ns=tuple(end), every=1, arrivals=len(due),
        calls=len(end), missed=0, waited_ns=0, longest_ns=0,
    )  # fmt: skip


def test_the_last_minute_by_the_first() -> None:
    """Ten calls a second for ten minutes, 20 ms at first, growing to 25 at last."""
    due = (np.arange(6000) * 1e8).astype(np.int64)
    rng = np.random.default_rng(0)
    takes = 20e6 * np.interp(due / 1e9, [60, 540], [1, 1.25]) * rng.lognormal(0, 0.02, 6000)
    run = run_of(due.tolist(), due.tolist(), (due + takes).astype(int).tolist())
    first, last, found = first_and_last(run, 600.0, 60.0)
    assert first.n == last.n == 600
    assert first.p50 == pytest.approx(20, rel=0.01)
    assert last.p50 == pytest.approx(25, rel=0.01)
    assert found.change is not None
    assert found.change_ci is not None
    low, high = found.change_ci
    assert 1.2 < low < found.change < high < 1.3
    assert found.change_reason is None


def test_latency_of_first_and_last_includes_waiting() -> None:
    due = [0, 100_000_000]
    run = run_of(due, [0, 150_000_000], [150_000_000, 170_000_000])
    first, last, found = first_and_last(run, 0.2, 0.1)
    assert (first.n, last.n) == (1, 1)
    assert found.change == pytest.approx(70 / 150)
    assert found.change_ci is None
    assert "2 windows" in str(found.change_reason)


def test_a_long_fast_run_stays_small() -> None:
    """As a result is written: a run of as many calls as are kept, twice (at a pace it is there twice)."""
    due = [600_000_000_000 + i for i in range(KEPT)]
    run = {"intended_ns": due, "start_ns": due, "end_ns": due}
    assert 2 * len(json.dumps({"a": [{"b": {"run": run}}]}, indent=1)) < 8_000_000


@pytest.mark.parametrize("fps", [0, -3, 1e9, float("nan")])
def test_a_rate_that_cannot_be(tiny: Workload, fps: float) -> None:
    with pytest.raises(BadInput, match="--fps"):
        time_paced([tiny], Arrivals(fps))
