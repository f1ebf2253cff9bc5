"""The parts of the tiny bundle, for real: what is there, what ran. No duration is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from device.conftest import CONTRACT, LABELS, tell

from edge_tl.device.bench import breakdown_worker
from edge_tl.device.bench.breakdown import (
    STEPS,
    Breakdown,
    measure_throughput,
    time_breakdown,
    time_steps,
)
from edge_tl.device.bench.effort import QUICK, Effort
from edge_tl.device.bench.sweep import time_sweep
from edge_tl.device.bench.worker_messages import ThroughputJob
from edge_tl.device.bench.workloads import Placement, Selection
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra

onnxruntime = pytest.importorskip("onnxruntime")


def test_steps_cold_start_memory_and_size(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    chosen = [bundle.artifact("onnx-int8"), bundle.artifact("openvino-fp32")]
    result = time_steps(Selection(bundle, chosen), rounds=2, calls=12).to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["kind"] == "parts"
    onnx, openvino = result["artifacts"]
    for row in (onnx, openvino):
        assert set(row["parts"]) == {*STEPS, "normalize"}
        assert all(part["n"] == 24 for part in row["parts"].values())
        assert row["latency_ms"] == row["parts"]["inference"]
        assert min(row["cold_ms"][key] for key in ("import", "compile", "first")) > 0
        assert row["memory_mb"]["peak"] >= row["memory_mb"]["loaded"] >= row["memory_mb"]["start"] > 0
    assert onnx["cold_ms"]["read"] is None, "ONNX Runtime does not tell reading from compiling"
    assert openvino["cold_ms"]["read"] > 0
    files = [bundle_root / name for name in ("model.fp32.xml", "model.fp32.bin")]
    assert openvino["size_mb"] == pytest.approx(sum(f.stat().st_size for f in files) / 1e6)
    assert onnx["ran"]["precision"] == "int8"


def test_a_sweep_times_every_combination(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    effort = Effort(rounds=3, blocks=2, count=4)
    chosen = [bundle.artifact("onnx-fp32")]
    rows, skipped = time_sweep(Selection(bundle, chosen), batches=[1, 4], threads=[1, 2], effort=effort)
    assert skipped == []
    assert [(r.batch, r.asked_threads) for r in rows] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for row in rows:
        assert row.threads == row.ran.threads
        assert row.latency_ms.p50 is not None
        assert row.ms_per_image is not None
        assert row.ms_per_image == pytest.approx(row.latency_ms.p50 / row.batch)
        assert row.images_per_s == pytest.approx(1000 / row.ms_per_image)


@pytest.mark.parametrize("name", ["onnx-fp32", "openvino-int8"])
def test_throughput_says_what_ran(bundle_root: Path, name: str) -> None:
    bundle = read_bundle(bundle_root)
    chosen = Selection(bundle, [bundle.artifact(name)])
    (row,), skipped = measure_throughput(chosen, rounds=2, seconds=0.1)
    assert skipped == []
    assert row.images_per_s > 0
    assert len(row.rounds) == 2
    assert row.ran.device == "CPU"
    assert row.ran.precision == name[-4:]
    assert row.ran.streams is not None
    assert row.ran.streams >= 1
    assert row.ran.threads >= 1


def test_only_what_was_asked_for(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    effort = Effort(rounds=1, count=2)
    chosen = Selection(bundle, bundle.artifacts[:1])
    result = time_breakdown(chosen, Breakdown(batches=(2,)), effort=effort).to_json()
    assert result["kind"] == "parts"
    assert "parts" not in result["artifacts"][0]
    assert [row["batch"] for row in result["sweep"]] == [2]
    assert "throughput" not in result


def test_a_model_that_is_gone_is_named(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    (bundle_root / "model.fp32.onnx").write_bytes(b"garbage")
    with pytest.raises(EdgeTLError, match="onnx-fp32 could not run"):
        time_steps(Selection(bundle, bundle.artifacts[:1]), rounds=1, calls=1)
    assert QUICK.rounds >= 3


def hide(monkeypatch: pytest.MonkeyPatch, folder: Path, *packages: str) -> None:
    """Processes that start from now on find no such package."""
    for name in packages:
        (folder / "hidden" / name).mkdir(parents=True)
        gone = f"raise ModuleNotFoundError('no {name}', name='{name}')"
        (folder / "hidden" / name / "__init__.py").write_text(gone)
    monkeypatch.setenv("PYTHONPATH", str(folder / "hidden"), prepend=":")


@pytest.mark.parametrize(
    ("package", "kind", "extra"), [("openvino", "openvino", "openvino"), ("onnxruntime", "onnx", "ort")]
)
def test_what_misses_its_runtime_is_skipped_in_every_part(
    bundle_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, kind: str, extra: str
) -> None:
    hide(monkeypatch, tmp_path, package)
    bundle = read_bundle(bundle_root)
    gone = [a for a in bundle.artifacts if a.id.startswith(f"{kind}-")]
    here = [a for a in bundle.artifacts if a not in gone]
    few = Effort(rounds=1, count=2)
    result = time_steps(Selection(bundle, bundle.artifacts), rounds=1, calls=1)
    two = Selection(bundle, [gone[0], here[0]])
    _, in_sweep = time_sweep(two, batches=[1], effort=few)
    rows, in_throughput = measure_throughput(two, rounds=1, seconds=0.05)
    assert {row.id for row in result.artifacts} == {a.id for a in here}
    assert {entry.artifact for entry in result.skipped} == {a.id for a in gone}
    assert [row.artifact for row in rows] == [here[0].id]
    for entry in [*result.skipped, *in_sweep, *in_throughput]:
        assert entry.reason.endswith(f'is not installed. Run: pip install "edge-tl[{extra}]"')
    assert len(in_sweep) == len(in_throughput) == 1
    whole = time_breakdown(two, Breakdown(batches=(2,), throughput=True, quick=True), effort=few)
    assert [entry.artifact for entry in whole.skipped] == [gone[0].id], "named once"
    missing = Selection(bundle, gone)
    for call in (
        lambda: time_steps(missing, rounds=1, calls=1),
        lambda: time_sweep(missing, batches=[1], effort=few),
        lambda: measure_throughput(missing, rounds=1, seconds=0.05),
    ):
        with pytest.raises(MissingExtra) as caught:
            call()
        assert caught.value.extra == extra


def test_what_does_not_load_is_skipped_with_a_reason(
    bundle_root: Path, reseal: Callable[[Path], None]
) -> None:
    (bundle_root / "model.fp32.xml").write_text(
        "<net><rt_info></rt_info>\n</net>"
    )  # no network, but it tells
    tell(bundle_root / "model.fp32.xml", LABELS, CONTRACT)
    reseal(bundle_root)
    bundle = read_bundle(bundle_root)
    chosen = [bundle.artifact(name) for name in ("openvino-fp32", "onnx-int8")]
    result = time_steps(Selection(bundle, chosen), rounds=1, calls=1)
    assert [row.id for row in result.artifacts] == ["onnx-int8"]
    (entry,) = result.skipped
    assert entry.reason.startswith("OpenVINO cannot load model.fp32.xml: ")


def test_rounds_and_calls_are_those_asked_for(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    wanted = Breakdown(steps=True, rounds=2, calls=12)
    result = time_breakdown(Selection(bundle, bundle.artifacts[:1]), wanted, effort=QUICK)
    assert (result.method.rounds, result.method.count) == (2, 12)
    assert result.artifacts[0].latency_ms.n == 24


@pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no provider that takes no operator",
)
def test_throughput_follows_the_rules_of_a_device(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    chosen = [bundle.artifact("onnx-fp32")]
    with pytest.raises(FellBack, match="--device Azure: onnx-fp32: every node ran on CPU"):
        measure_throughput(Selection(bundle, chosen, Placement("azure")), rounds=1, seconds=0.05)
    allowed = Selection(bundle, chosen, Placement("azure", allow_fallback=True))
    (row,), _ = measure_throughput(allowed, rounds=1, seconds=0.05)
    assert row.ran.fallback is not None
    assert row.ran.fallback.asked == "Azure"
    assert row.ran.notes


@pytest.mark.parametrize("device", ["auto", "hetero:cpu"])
def test_throughput_finds_openvinos_devices_in_any_case(bundle_root: Path, device: str) -> None:
    bundle = read_bundle(bundle_root)
    chosen = Selection(bundle, [bundle.artifact("openvino-fp32")], Placement(device))
    (row,), _ = measure_throughput(chosen, rounds=1, seconds=0.05)
    assert (row.ran.device, row.ran.precision) == ("CPU", "fp32")
    assert row.ran.requests is not None
    assert row.ran.requests >= 1


def test_an_openvino_fallback_is_found_in_throughput_too(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, because OpenVINO never does it here."""
    monkeypatch.setattr(breakdown_worker.openvino_.OpenVinoRuntime, "device", "GPU.0")
    job = ThroughputJob(
        path=str(bundle_root / "model.fp32.xml"),
        device="cpu",
        threads=1,
        shape=(1, 3, 16, 16),
        throughput_s=0.02,
    )
    with pytest.raises(FellBack, match=r"--device CPU: OpenVINO ran it on GPU\.0"):
        breakdown_worker.run_throughput(job)
    found = breakdown_worker.run_throughput(replace(job, allow_fallback=True))
    assert found.ran.fallback is not None
    assert found.ran.fallback.ran == {"GPU.0": 1}
