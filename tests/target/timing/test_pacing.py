"""A real tiny model at a pace, beside a neighbour, and for a while; and the arithmetic of first and last minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.target.errors import BadInput, EdgeTLError
from edge_tl.target.timing import neighbours
from edge_tl.target.timing.bench import SCHEMA
from edge_tl.target.timing.children import CHILD, Contestant
from edge_tl.target.timing.pacing import COUNT, first_and_last, pace, sustained


@pytest.fixture
def tiny(assets: Path) -> Contestant:
    spec = {"path": str(assets / "tiny.onnx"), "device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return Contestant("tiny", CHILD, spec)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every neighbour that was started."""
    real, seen = neighbours.subprocess.Popen, []

    def popen(*arguments: Any, **options: Any) -> Any:
        seen.append(real(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(neighbours.subprocess, "Popen", popen)
    return seen


def test_at_a_pace_beside_a_neighbour(tiny: Contestant, started: list[Any]) -> None:
    calls: list[tuple[str, int, int]] = []
    result = pace([tiny], fps=50, seconds=0.9, load=1, progress=lambda *state: calls.append(state))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    (row,) = result["artifacts"]
    assert (result["schema"], result["kind"]) == (SCHEMA, "pace")
    assert row["latency_ms"]["n"] == 3 * COUNT
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


def test_load_alone(tiny: Contestant) -> None:
    (row,) = pace([tiny], load=1)["artifacts"]
    assert "paced" not in row
    assert set(row["loaded"]) == {"neighbours", "latency_ms", "slowdown", "slowdown_ci", "samples_ns"}


def test_neighbours_end_when_the_model_fails(tmp_path: Path, started: list[Any], tiny: Contestant) -> None:
    (tmp_path / "dies.py").write_text(
        "import json, sys\n"
        "print(json.dumps(dict(load_ns=1, first_ns=1, warmup_calls=1, call_ns=1, ran={})), flush=True)\n"
        "sys.stdin.readline(); sys.exit('broken')"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        with pytest.raises(EdgeTLError, match="broken"):
            pace([Contestant("x", "dies", {})], load=2)
    assert all(process.poll() is not None for process in started)


def test_sustained_with_sensors(tiny: Contestant, tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    zone.parent.mkdir(parents=True)
    zone.write_text("61000")
    (row,) = sustained(tiny, minutes=1.2 / 60, fps=100, root=tmp_path)["artifacts"]
    lasted = row["sustained"]
    assert lasted["sensors"]["temperature_c"] == {"first": 61, "min": 61, "max": 61, "last": 61}
    assert lasted["sensors"]["clock_mhz"] is None
    assert len(lasted["readings"]) >= 2
    assert lasted["window_s"] == pytest.approx(0.6)
    assert lasted["first"]["n"] == lasted["last"]["n"] == 60
    assert row["paced"]["n"] == 120
    assert row["paced"]["idle_penalty_ci"] is None, "one process has no interval"
    (row,) = sustained(tiny, minutes=0.5 / 60, root=tmp_path)["artifacts"]
    assert "paced" not in row
    assert row["sustained"]["first"]["n"] > 0


def test_sustained_beside_a_neighbour(tiny: Contestant, tmp_path: Path, started: list[Any]) -> None:
    """The pace beside the neighbour is compared with back to back beside it, and the quiet number stays."""
    (row,) = sustained(tiny, minutes=0.4 / 60, fps=50, load=1, root=tmp_path)["artifacts"]
    assert "paced" not in row
    assert row["sustained"]["neighbours"] == 1
    assert row["loaded"]["paced"]["n"] == 20
    assert row["loaded"]["latency_ms"]["n"] == row["latency_ms"]["n"] == COUNT
    assert all(process.poll() is not None for process in started)


def test_the_last_minute_by_the_first() -> None:
    """Ten calls a second for ten minutes, 20 ms at first and 25 at last."""
    due = (np.arange(6000) * 1e8).astype(np.int64)
    rng = np.random.default_rng(0)
    takes = 20e6 * (1 + 0.25 * (np.arange(6000) > 3000)) * rng.lognormal(0, 0.02, 6000)
    run = {
        "intended_ns": due.tolist(),
        "start_ns": due.tolist(),
        "end_ns": (due + takes).astype(int).tolist(),
    }
    found = first_and_last(run, 600.0, 60.0)
    assert found["first"]["n"] == found["last"]["n"] == 600
    assert found["first"]["p50"] == pytest.approx(20, rel=0.01)
    assert found["last"]["p50"] == pytest.approx(25, rel=0.01)
    low, high = found["change_ci"]
    assert 1.2 < low < found["change"] < high < 1.3


def test_latency_of_first_and_last_includes_waiting() -> None:
    due = [0, 100_000_000]
    run = {"intended_ns": due, "start_ns": [0, 150_000_000], "end_ns": [150_000_000, 170_000_000]}
    found = first_and_last(run, 0.2, 0.1)
    assert (found["first"]["n"], found["last"]["n"]) == (1, 1)
    assert found["change"] == pytest.approx(70 / 150)


@pytest.mark.parametrize("fps", [0, -3, 1e9, float("nan")])
def test_a_rate_that_cannot_be(tiny: Contestant, fps: float) -> None:
    with pytest.raises(BadInput, match="--fps"):
        pace([tiny], fps=fps)
