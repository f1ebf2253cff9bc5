"""Real child processes on the tiny models; order, baseline, deaths and missing runtimes. No duration is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.target import bench as room
from edge_tl.target.bench import Contestant, Effort, bench, contestants
from edge_tl.target.bench_child import time_block
from edge_tl.target.bundle import read_bundle
from edge_tl.target.errors import EdgeTLError, MissingExtra
from edge_tl.target.latency import summarize
from edge_tl.target.machine import cores_allowed
from edge_tl.target.runtime import NullRuntime

CHILD = "edge_tl.target.bench_child"
Fake = Callable[[list[str]], subprocess.CompletedProcess[str]]


def tiny(assets: Path, *names: str) -> list[Contestant]:
    """One contestant a model file, under the name of the file."""
    spec = {"device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return [Contestant(name, CHILD, spec | {"path": str(assets / name)}) for name in names]


@pytest.fixture(scope="module")
def raced() -> tuple[dict[str, Any], list[tuple[str, int, int]]]:
    """Two rounds of five calls of three real models."""
    calls: list[tuple[str, int, int]] = []
    field = tiny(Path(__file__).parent / "assets", "tiny.int8.onnx", "tiny.onnx", "tiny.xml")
    result = bench(
        field, effort=Effort(rounds=2, count=5), seed=3, progress=lambda *state: calls.append(state)
    )
    return result, calls


def test_a_real_race(raced: tuple[dict[str, Any], list[tuple[str, int, int]]]) -> None:
    result, calls = raced
    rows = {row["id"]: row for row in result["artifacts"]}
    assert list(rows) == ["tiny.int8.onnx", "tiny.onnx", "tiny.xml"]
    for row in rows.values():
        assert [len(block) for block in row["samples_ns"]] == [5, 5]
        assert all(type(ns) is int and ns > 0 for block in row["samples_ns"] for ns in block)
        assert row["latency_ms"] == {"p50": None, "p90": None, "p99": None, "n": 10}
        assert row["latency_ms"] == summarize(np.concatenate(row["samples_ns"]))
        assert row["load_ms"] > 0
        assert row["first_ms"] > 0
        assert row["speedup"] > 0
        assert row["speedup_ci"] is None, "two rounds cannot carry an interval"
        assert (row["ran"]["device"], row["ran"]["threads"]) == ("CPU", 1)
    assert rows["tiny.int8.onnx"]["ran"]["precision"] == "int8"
    assert rows["tiny.xml"]["ran"]["runtime"].startswith("openvino ")
    assert result["skipped"] == []
    assert calls == [("latency", done, 6) for done in range(1, 7)]


def test_the_baseline_is_the_fastest_fp32_where_pytorch_is_not(
    raced: tuple[dict[str, Any], list[tuple[str, int, int]]],
) -> None:
    result, _ = raced
    medians = {row["id"]: float(np.median(np.concatenate(row["samples_ns"]))) for row in result["artifacts"]}
    del medians["tiny.int8.onnx"]
    assert result["baseline"] == min(medians, key=medians.__getitem__)
    by_id = {row["id"]: row for row in result["artifacts"]}
    assert by_id[result["baseline"]]["speedup"] == 1.0


def test_the_result_is_json_with_its_method_and_machine(
    raced: tuple[dict[str, Any], list[tuple[str, int, int]]],
) -> None:
    result, _ = raced
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["method"] == {"rounds": 2, "count": 5, "warmup": room.WARMUP, "batch": 1, "seed": 3}
    assert set(result["conditions"]) == {"before", "after"}
    assert result["machine"]["cores_allowed"] == cores_allowed()


def test_a_bundles_contestants(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    field = contestants(bundle, bundle.artifacts)
    assert [c.id for c in field] == [a.id for a in bundle.artifacts]
    for contestant, artifact in zip(field, bundle.artifacts, strict=True):
        assert contestant.module == CHILD
        assert contestant.spec == {
            "path": str(artifact.path),
            "device": "CPU",
            "allow_fallback": False,
            "shape": [1, 3, 16, 16],
            "threads": cores_allowed(),
        }


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, int]], list[str]]:
    """`pretend({id: ns})`: children that answer at once with that latency. Returns the list of who was started."""

    def _pretend(times: dict[str, int]) -> list[str]:
        started: list[str] = []

        def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
            assert command[:2] == [sys.executable, "-m"]
            spec = json.loads(command[3])
            started.append(spec["name"])
            block = {"samples_ns": [times[spec["name"]]] * spec["count"], "first_ns": 2, "load_ns": 1}
            if spec["describe"]:
                precision = "int8" if "int8" in spec["name"] else "fp32"
                block["ran"] = {"runtime": "r", "device": "CPU", "precision": precision, "threads": 1}
            return subprocess.CompletedProcess(command, 0, json.dumps(block), "")

        monkeypatch.setattr(subprocess, "run", run)
        return started

    return _pretend


def named(*names: str) -> list[Contestant]:
    return [Contestant(name, CHILD, {"name": name}) for name in names]


def test_the_order_is_drawn_anew_each_round_from_the_seed(pretend: Any) -> None:
    started = pretend(dict.fromkeys("abcd", 10))
    orders = []
    for seed in (0, 0, 1):
        started.clear()
        bench(named(*"abcd"), effort=Effort(rounds=12, count=1), seed=seed)
        orders.append([tuple(started[i : i + 4]) for i in range(0, 48, 4)])
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == list("abcd") for order in orders[0])
    assert len(set(orders[0])) > 4
    assert {order[0] for order in orders[0]} == set("abcd"), "someone never goes first"


def test_pytorch_is_the_baseline_where_it_runs(pretend: Any) -> None:
    pretend({"onnx-fp32": 1_000_000, "pytorch": 4_000_000, "onnx-int8": 500_000})
    result = bench(named("onnx-fp32", "pytorch", "onnx-int8"), effort=Effort(rounds=4, count=25))
    assert result["baseline"] == "pytorch"
    rows = {row["id"]: (row["speedup"], row["speedup_ci"]) for row in result["artifacts"]}
    assert rows == {"onnx-fp32": (4, [4, 4]), "pytorch": (1, [1, 1]), "onnx-int8": (8, [8, 8])}
    assert result["artifacts"][0]["latency_ms"] == {"p50": 1.0, "p90": 1.0, "p99": None, "n": 100}


@pytest.mark.parametrize(
    ("times", "baseline"),
    [({"x-fp32": 30, "y-fp32": 20, "x-int8": 10}, "y-fp32"), ({"x-int8": 20, "y-int8": 10}, "y-int8")],
)
def test_the_baseline_without_pytorch(pretend: Any, times: dict[str, int], baseline: str) -> None:
    pretend(times)
    assert bench(named(*times), effort=Effort(rounds=3, count=5))["baseline"] == baseline


def test_the_shipped_efforts_support_what_they_promise(pretend: Any) -> None:
    pretend({"a": 1_000_000})
    shown = {
        name: bench(named("a"), effort=effort)["artifacts"][0]["latency_ms"]
        for name, effort in (("quick", room.QUICK), ("thorough", room.THOROUGH))
    }
    assert shown["quick"]["p90"] == 1.0
    assert shown["thorough"]["p99"] == 1.0


def test_a_model_that_does_not_load_is_named(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    field = [*tiny(assets, "tiny.onnx"), *tiny(tmp_path, "broken.onnx")]
    with pytest.raises(EdgeTLError, match=r"broken\.onnx could not run: .*cannot load") as caught:
        bench(field, effort=Effort(rounds=1, count=2))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('library banner')", ""),
        ("", ""),
    ],
    ids=["killed", "exits", "prints something else", "prints nothing"],
)
def test_a_child_that_dies_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    (tmp_path / "dying_child.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(EdgeTLError, match="the-culprit") as caught:
        bench([Contestant("the-culprit", "dying_child", {})], effort=Effort(rounds=1, count=1))
    assert reason in str(caught.value)


def test_a_missing_runtime_is_skipped(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import sys; sys.modules['openvino'] = None\nfrom edge_tl.target import bench_child\nbench_child.main()"
    (tmp_path / "child_without_openvino.py").write_text(child, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    here, gone = tiny(assets, "tiny.onnx")[0], tiny(assets, "tiny.xml")[0]
    gone = Contestant("openvino-fp32", "child_without_openvino", gone.spec)
    result = bench([gone, here], effort=Effort(rounds=2, count=3))
    assert [row["id"] for row in result["artifacts"]] == ["tiny.onnx"]
    assert [entry["artifact"] for entry in result["skipped"]] == ["openvino-fp32"]
    assert 'pip install "edge-tl[openvino]"' in result["skipped"][0]["reason"]
    with pytest.raises(MissingExtra, match="pip install"):
        bench([gone], effort=Effort(rounds=1, count=3))


def test_a_block_counts_its_calls() -> None:
    shapes = []

    class Counting(NullRuntime):
        def __call__(self, inputs: np.ndarray) -> np.ndarray:
            shapes.append(inputs.shape)
            assert inputs.dtype == np.float32
            assert np.isfinite(inputs).all()
            return super().__call__(inputs)

    block = time_block(Counting(3), (1, 3, 8, 8), {"warmup": 4, "count": 6, "seconds": 60})
    assert shapes == [(1, 3, 8, 8)] * (1 + 4 + 6), "one first call, the warm-up, the samples"
    assert len(block["samples_ns"]) == 6
    assert block["first_ns"] >= 0
    json.dumps(block)
