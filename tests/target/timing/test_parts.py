"""The parts of the tiny bundle, for real: what is there, what ran. No duration is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tl.target.bundle import read_bundle
from edge_tl.target.errors import EdgeTLError
from edge_tl.target.timing.bench import QUICK, Effort
from edge_tl.target.timing.parts import STEPS, measured, parts, sweep, throughput


def test_steps_cold_start_memory_and_size(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    chosen = [bundle.artifact("onnx-int8"), bundle.artifact("openvino-fp32")]
    result = parts(bundle, chosen, rounds=2, calls=12)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["kind"] == "parts"
    onnx, openvino = result["artifacts"]
    for row in (onnx, openvino):
        assert set(row["parts"]) == set(STEPS)
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
    rows = sweep(bundle, [bundle.artifact("onnx-fp32")], batches=[1, 4], threads=[1, 2], effort=effort)
    assert [(r["batch"], r["asked_threads"]) for r in rows] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for row in rows:
        assert row["threads"] == row["ran"]["threads"]
        assert row["ms_per_image"] == pytest.approx(row["latency_ms"]["p50"] / row["batch"])
        assert row["images_per_s"] == pytest.approx(1000 / row["ms_per_image"])


@pytest.mark.parametrize("name", ["onnx-fp32", "openvino-int8"])
def test_throughput_says_what_ran(bundle_root: Path, name: str) -> None:
    bundle = read_bundle(bundle_root)
    (row,) = throughput(bundle, [bundle.artifact(name)], rounds=2, seconds=0.1)
    assert row["images_per_s"] > 0
    assert len(row["rounds"]) == 2
    assert row["ran"]["device"] == "CPU"
    assert row["ran"]["precision"] == name[-4:]
    assert row["ran"]["streams"] >= 1
    assert row["ran"]["threads"] >= 1


def test_only_what_was_asked_for(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    effort = Effort(rounds=1, count=2)
    result = measured(
        bundle, bundle.artifacts[:1], steps=False, batches=[2], threads=[], streams=False, effort=effort
    )
    assert result["kind"] == "parts"
    assert "parts" not in result["artifacts"][0]
    assert [row["batch"] for row in result["sweep"]] == [2]
    assert "throughput" not in result


def test_a_model_that_is_gone_is_named(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    (bundle_root / "model.fp32.onnx").write_bytes(b"garbage")
    with pytest.raises(EdgeTLError, match="onnx-fp32 could not run"):
        parts(bundle, bundle.artifacts[:1], rounds=1, calls=1)
    assert QUICK.rounds >= 3
