"""Real worker processes on the tiny models; order, baseline, deaths and missing runtimes. No duration is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening

from edge_tl.device.bench import harness, latency, machine_use, workers
from edge_tl.device.bench.effort import QUICK, THOROUGH, Effort
from edge_tl.device.bench.latency import time_against_itself, time_interleaved
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.bench.workloads import startable, workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.bench import (
    SCHEMA,
    ArtifactTiming,
    StreamsRecord,
    SweepTiming,
    ThroughputRecord,
)
from edge_tl.device.records.timing import ConditionsRecord, LatencyRecord, LoadRecord, UsageRecord

onnxruntime = pytest.importorskip("onnxruntime")
azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no provider that takes no operator",
)


def timed(*arguments: Any, **options: Any) -> dict[str, Any]:
    """The result as it is written."""
    return time_interleaved(*arguments, **options).to_json()


def against_itself(*arguments: Any, **options: Any) -> dict[str, Any]:
    """The result as it is written."""
    return time_against_itself(*arguments, **options).to_json()


def tiny(assets: Path, *names: str) -> list[Workload]:
    """One workload a model file, under the name of the file."""
    spec = {"device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return [
        Workload(
            name,
            WORKER,
            spec | {"path": str(assets / name), "precision": "int8" if "int8" in name else "fp32"},
        )
        for name in names
    ]


@pytest.fixture(scope="module")
def raced() -> tuple[dict[str, Any], list[tuple[str, int, int]]]:
    """Two rounds of two blocks of three real models."""
    calls: list[tuple[str, int, int]] = []
    field = tiny(Path(__file__).parents[1] / "assets", "tiny.int8.onnx", "tiny.onnx", "tiny.xml")
    result = timed(
        field,
        effort=Effort(rounds=2, blocks=2, count=5),
        seed=3,
        listener=Listening(progress=lambda *state: calls.append(state)),
    )
    return result, calls


def test_a_real_race(raced: tuple[dict[str, Any], list[tuple[str, int, int]]]) -> None:
    result, calls = raced
    rows = {row["id"]: row for row in result["artifacts"]}
    assert list(rows) == ["tiny.int8.onnx", "tiny.onnx", "tiny.xml"]
    for row in rows.values():
        sizes = [len(block) for block in row["samples_ns"]]
        assert sizes == [row["block_calls"]] * 4
        assert 5 <= row["block_calls"] <= 50, "a small model's blocks hold more calls"
        assert row["block_round"] == [0, 0, 1, 1]
        assert all(type(ns) is int and ns > 0 for block in row["samples_ns"] for ns in block)
        assert row["latency_ms"] == summarize(np.concatenate(row["samples_ns"])).to_json()
        assert len(row["warmup_calls"]) == 2
        assert min(row["warmup_calls"]) >= latency.WARMUP
        assert row["load_ms"] > 0
        assert row["first_ms"] > 0
        is_base = row["id"] == result["baseline"]
        assert row["speedup"] == (1.0 if is_base else None), "two rounds cannot carry an interval"
        assert row["speedup_ci"] is None
        assert ("not_judged" in row) is not is_base
        assert (row["ran"]["device"], row["ran"]["threads"]) == ("CPU", 1)
    assert rows["tiny.int8.onnx"]["ran"]["precision"] == "int8"
    assert rows["tiny.xml"]["ran"]["runtime"].startswith("openvino ")
    assert result["skipped"] == []
    assert calls == [("latency", done, 4) for done in range(1, 5)]


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
    method = {"rounds": 2, "blocks": 2, "count": 5, "warmup": latency.WARMUP, "batch": 1, "seed": 3}
    assert method.items() <= result["method"].items()
    assert result["schema"] == SCHEMA
    assert result["kind"] == "latency"
    assert result["harness_floor_us"] > 0
    assert set(result["conditions"]) == {"before", "during", "after"}
    assert result["machine"]["cores_allowed"] == cores_allowed()


def test_the_workloads_of_a_bundle(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    field = workloads(bundle, bundle.artifacts)
    assert [c.id for c in field] == [a.id for a in bundle.artifacts]
    for workload, artifact in zip(field, bundle.artifacts, strict=True):
        assert workload.module == WORKER
        assert workload.spec == {
            "path": str(artifact.path),
            "precision": artifact.precision,
            "allow_fallback": False,
            "device": "CPU",
            "shape": [1, 3, 16, 16],
            "size": [16, 16],
            "input": "tensor",
            "threads": cores_allowed(),
        }


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`pretend({id: ns})`: pool that answer at once with that latency, and say that a call took `warm[id]` while
    they warmed up. Returns the list of who was asked. However busy this machine is, they are not."""
    monkeypatch.setattr(latency, "busy_reason", lambda *_: None)

    def _pretend(times: dict[str, int], warm: dict[str, int] | None = None) -> list[str]:
        asked: list[str] = []

        class Pretended:
            def __init__(
                self, workload: Workload, *, warmup: int, describe: bool, waits: bool = False
            ) -> None:
                self.workload, self.name, self.describe = workload, workload.id, describe

            def answer(self) -> dict[str, Any]:
                ready = {"load_ns": 1, "first_ns": 2, "warmup_calls": 10}
                ready["call_ns"] = (warm or {}).get(self.name, 10**9)
                precision = "int8" if "int8" in self.name else "fp32"
                ran = {"runtime": "r", "device": "CPU", "precision": precision, "threads": 1}
                return ready | ({"ran": ran} if self.describe else {})

            def ask(self, **question: Any) -> dict[str, Any]:
                if not question:  # it had waited
                    return self.answer()
                asked.append(self.name)
                return {"samples_ns": [times[self.name]] * question["count"]}

            def end(self) -> None:
                pass

            kill = end

        monkeypatch.setattr(workers, "Worker", Pretended)
        return asked

    return _pretend


def named(*names: str) -> list[Workload]:
    return [Workload(n, WORKER, {"name": n, "precision": n.partition("-")[2] or "fp32"}) for n in names]


@pytest.mark.parametrize(("cores", "ahead"), [(8, [2, 0, 3, 0, 0]), (1, [1, 1, 1, 1, 1])])
def test_what_imports_for_seconds_is_started_for_several_rounds_at_once_and_never_alone(
    cores: int, ahead: list[int], pretend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(dict.fromkeys("ab", 10))
    monkeypatch.setattr(latency, "cores_allowed", lambda: cores)
    launched: list[dict[str, int]] = []

    def launch(counts: Any, **options: Any) -> Any:
        launched.append({name: count for name, (_, count) in counts.items()})
        return workers.launch(counts, **options)

    monkeypatch.setattr(latency, "launch", launch)
    slow, fast = named("a", "b")
    result = timed([replace(slow, slow_start=True), fast], effort=Effort(rounds=5, blocks=1, count=1))
    assert [each.get("a", 0) for each in launched] == ahead
    assert [each["b"] for each in launched] == [1] * 5
    assert [len(row["samples_ns"]) for row in result["artifacts"]] == [5, 5]


def test_the_order_is_drawn_then_mirrored(pretend: Any) -> None:
    asked = pretend(dict.fromkeys("abcd", 10))
    orders = []
    for seed in (0, 0, 1):
        asked.clear()
        timed(named(*"abcd"), effort=Effort(rounds=6, blocks=4, count=1), seed=seed)
        orders.append([tuple(asked[i : i + 4]) for i in range(0, len(asked), 4)])
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == 24
    assert all(sorted(order) == list("abcd") for order in orders[0])
    assert all(there == back[::-1] for there, back in zip(orders[0][::2], orders[0][1::2], strict=True))
    assert len(set(orders[0])) > 4
    assert {order[0] for order in orders[0]} == set("abcd"), "someone never goes first"


def test_against_itself(pretend: Any) -> None:
    pretend({"a": 5_000_000, "a (again)": 5_000_000})
    result = against_itself(*named("a"), effort=Effort(rounds=4, blocks=2, count=5))
    assert result["kind"] == "noise"
    assert result["noise"] == {"ratio": 1.0, "ratio_ci": [1.0, 1.0], "width": 0.0, "contains_one": True}
    pretend({"a": 5_000_000, "a (again)": 4_000_000})
    result = against_itself(*named("a"), effort=Effort(rounds=4, blocks=2, count=5))
    assert result["noise"]["contains_one"] is False
    result = against_itself(*named("a"), effort=Effort(rounds=2, blocks=2, count=5))
    assert result["noise"]["width"] is result["noise"]["contains_one"] is None


def test_the_same_thing_twice_is_timed_in_blocks_of_one_length(pretend: Any) -> None:
    """Each side had its own, by what its warm-up took: with two threads on two cores an A/A found 1.04 [1.02, 1.06],
    because calls become faster along a block."""
    pretend({"a": 5_000_000, "a (again)": 5_000_000}, {"a": 4_100_000, "a (again)": 3_300_000})
    rows = against_itself(*named("a"), effort=Effort(rounds=4, blocks=2, count=3))["artifacts"]
    assert rows[0]["block_calls"] == rows[1]["block_calls"] in (5, 7)
    assert [len(block) for row in rows for block in row["samples_ns"]] == [rows[0]["block_calls"]] * 16
    pretend({"a": 5_000_000, "b": 5_000_000}, {"a": 4_100_000, "b": 3_300_000})
    rows = timed(named("a", "b"), effort=Effort(rounds=4, blocks=2, count=3))["artifacts"]
    assert [row["block_calls"] for row in rows] == [5, 7]  # different things fill the same time


def test_the_floor_is_of_this_harness() -> None:
    assert 0 < harness.floor_us() < 1e6


def test_pytorch_is_the_baseline_where_it_runs(pretend: Any) -> None:
    pretend({"onnx-fp32": 1_000_000, "pytorch": 4_000_000, "onnx-int8": 500_000})
    result = timed(named("onnx-fp32", "pytorch", "onnx-int8"), effort=Effort(rounds=4, count=25))
    assert result["baseline"] == "pytorch"
    rows = {row["id"]: row for row in result["artifacts"]}
    for name, ratio in {"onnx-fp32": 4, "pytorch": 1, "onnx-int8": 8}.items():
        assert rows[name]["speedup"] == pytest.approx(ratio)
        assert rows[name]["speedup_ci"] == pytest.approx([ratio, ratio])
        assert rows[name]["distinguishable"] is (ratio != 1)
    shown = rows["onnx-fp32"]["latency_ms"]
    assert [shown[key] for key in ("p50", "p90", "p99", "n")] == [1.0, 1.0, None, 100]


def test_beside_others_nothing_is_faster(pretend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend({"onnx-fp32": 1_000_000, "pytorch": 354_000_000})
    used = UsageRecord(others=1.6, stolen=0.0, cores=2.0)
    busy = ConditionsRecord(LoadRecord(), LoadRecord(), used)
    monkeypatch.setattr(latency, "busy_reason", machine_use.busy_reason)
    monkeypatch.setattr(harness.Beginning, "conditions", lambda _: busy)
    result = timed(named("onnx-fp32", "pytorch"), effort=Effort(rounds=4, count=5, blocks=2))
    row = result["artifacts"][0]
    assert row["speedup"] is row["speedup_ci"] is row["distinguishable"] is None
    assert row["not_judged"] == "this machine is busy (other programs used 1.6 of 2 cores)"
    assert row["latency_ms"]["p50"] == 1.0
    assert row["samples_ns"]
    assert result["conditions"]["against_itself_ci"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("times", "baseline"),
    [({"x-fp32": 30, "y-fp32": 20, "x-int8": 10}, "y-fp32"), ({"x-int8": 20, "y-int8": 10}, "y-int8")],
)
def test_the_baseline_without_pytorch(pretend: Any, times: dict[str, int], baseline: str) -> None:
    pretend(times)
    assert timed(named(*times), effort=Effort(rounds=3, count=5))["baseline"] == baseline


def test_the_shipped_efforts_support_what_they_promise(pretend: Any) -> None:
    pretend({"a": 1_000_000})
    shown = {
        name: timed(named("a"), effort=effort)["artifacts"][0]["latency_ms"]
        for name, effort in (("quick", QUICK), ("thorough", THOROUGH))
    }
    assert shown["quick"]["p90"] == 1.0
    assert shown["thorough"]["p99"] == 1.0


def test_a_model_that_does_not_load_is_named(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    field = [*tiny(assets, "tiny.onnx"), *tiny(tmp_path, "broken.onnx")]
    with pytest.raises(EdgeTLError, match=r"broken\.onnx could not run: .*cannot load") as caught:
        timed(field, effort=Effort(rounds=1, count=2))
    assert "Traceback" not in str(caught.value)


def test_a_model_that_does_not_load_leaves_the_others_to_be_timed(assets: Path, tmp_path: Path) -> None:
    """The reason is a sentence: no class of ours, no name that stands beside it, no folder, one full stop."""
    for name in ("broken.onnx", "broken.xml"):
        (tmp_path / name).write_bytes(b"garbage")
    broken = tiny(tmp_path, "broken.onnx", "broken.xml")
    few = Effort(rounds=2, count=3)
    result = timed([*broken, *tiny(assets, "tiny.onnx")], effort=few, lenient=True)
    assert [row["id"] for row in result["artifacts"]] == ["tiny.onnx"]
    assert sorted(entry["artifact"] for entry in result["skipped"]) == ["broken.onnx", "broken.xml"]
    for entry in result["skipped"]:
        assert f" cannot load {entry['artifact']}: " in entry["reason"]
        assert entry["reason"].endswith(" Copy or export it again.")
        assert not [
            word for word in ("edge_tl.", "could not run", "..", str(tmp_path)) if word in entry["reason"]
        ]
    with pytest.raises(EdgeTLError, match=r"could not run: .* cannot load"):
        timed(broken, effort=few, lenient=True)


def test_pytorch_alone_is_no_bench_of_a_bundle(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    (pytorch,) = (replace(workload, id="pytorch") for workload in tiny(assets, "tiny.onnx"))
    with pytest.raises(EdgeTLError, match=r"broken\.onnx could not run"):
        timed([pytorch, *tiny(tmp_path, "broken.onnx")], effort=Effort(rounds=1, count=3), lenient=True)


@azure
def test_a_silent_fallback_is_never_a_reason_to_skip(assets: Path) -> None:
    here, away = (tiny(assets, name)[0] for name in ("tiny.onnx", "tiny.int8.onnx"))
    away = replace(away, spec=away.spec | {"device": "azure"})
    with pytest.raises(FellBack, match=r"--device Azure: tiny\.int8\.onnx: every node ran on CPU\. Repair"):
        timed([here, away], effort=Effort(rounds=1, count=3), lenient=True)
    with pytest.raises(FellBack):
        startable([away, here])
    allowed = replace(away, spec=away.spec | {"allow_fallback": True})
    result = time_interleaved([here, allowed], effort=Effort(rounds=1, count=3), lenient=True)
    assert harness.warnings(result) == ["tiny.int8.onnx: Azure was asked for, every node ran on CPU"]


def test_the_first_that_starts(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    broken = tiny(tmp_path, "broken.onnx")
    field = [*broken, *tiny(assets, "tiny.onnx", "tiny.int8.onnx")]
    found, skipped = startable(field, most=1)
    assert [workload.id for workload in found] == ["tiny.onnx"]
    assert [entry.artifact for entry in skipped] == ["broken.onnx"]
    assert [workload.id for workload in startable(field)[0]] == ["tiny.onnx", "tiny.int8.onnx"]
    with pytest.raises(EdgeTLError, match=r"broken\.onnx could not run"):
        startable(broken)


def test_warnings_are_of_every_row_and_each_is_said_once(pretend: Any) -> None:
    def ran(*notes: str) -> StreamsRecord:
        return StreamsRecord(device="CPU", precision="fp32", threads=1, notes=notes)

    def artifact(name: str, *notes: str) -> ArtifactTiming:
        return ArtifactTiming(
            id=name, latency_ms=LatencyRecord(), ran=ran(*notes), samples_ns=(), block_round=()
        )

    def swept(note: str, batch: int, threads: int) -> SweepTiming:
        return SweepTiming(
            artifact="a", batch=batch, asked_threads=threads, threads=threads, latency_ms=LatencyRecord(),
            ran=ran(note), samples_ns=(), block_round=(),
        )  # fmt: skip

    def rate(name: str, note: str) -> ThroughputRecord:
        return ThroughputRecord(artifact=name, batch=1, images_per_s=1.0, rounds=(1.0,), ran=ran(note))

    pretend({"a": 1})
    result = replace(
        time_interleaved(named("a"), effort=Effort(rounds=1, count=1)),
        artifacts=(artifact("a", "x"), artifact("b")),
        sweep=(swept("x", 4, 1), swept("y", 4, 2), swept("y", 8, 2)),
        throughput=(rate("b", "x"), rate("a", "y")),
    )
    assert harness.warnings(result) == ["a: x", "a, batch 4, 2 threads: y", "b, throughput: x"]


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
    (tmp_path / "dying_worker.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(EdgeTLError, match="the-culprit") as caught:
        timed([Workload("the-culprit", "dying_worker", {})], effort=Effort(rounds=1, count=1))
    assert reason in str(caught.value)


def test_a_missing_runtime_is_skipped(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = (
        "import sys; sys.modules['openvino'] = None\nfrom edge_tl.device.bench import worker\nworker.main()"
    )
    (tmp_path / "worker_without_openvino.py").write_text(worker, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    here, gone = tiny(assets, "tiny.onnx")[0], tiny(assets, "tiny.xml")[0]
    gone = Workload("openvino-fp32", "worker_without_openvino", gone.spec)
    result = timed([gone, here], effort=Effort(rounds=2, count=3))
    assert [row["id"] for row in result["artifacts"]] == ["tiny.onnx"]
    assert [entry["artifact"] for entry in result["skipped"]] == ["openvino-fp32"]
    assert 'pip install "edge-tl[openvino]"' in result["skipped"][0]["reason"]
    with pytest.raises(MissingExtra, match="pip install"):
        timed([gone], effort=Effort(rounds=1, count=3))
