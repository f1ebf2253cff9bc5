"""Which artifact runs, and which files are images."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_tl.device.artifact_choice import best_first, open_best, stand_in_note
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.records.timing import LatencyRecord


@pytest.fixture
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


def test_the_recommended_artifact_is_opened(bundle: Bundle) -> None:
    artifact, runtime = open_best(bundle)
    assert artifact.id == bundle.record.recommended == "openvino-fp32"
    assert runtime.name == "openvino"


def test_another_when_asked_for_or_when_nothing_is_recommended(bundle: Bundle) -> None:
    artifact, runtime = open_best(bundle, "onnx-int8")
    assert (artifact.id, runtime.name) == ("onnx-int8", "onnxruntime")
    bundle = replace(bundle, record=replace(bundle.record, recommended=None))
    assert open_best(bundle)[0].id == "onnx-fp32"


def test_the_first_that_is_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert open_best(bundle)[0].id == "onnx-fp32"
    with pytest.raises(MissingExtra, match="openvino"):
        open_best(bundle, "openvino-fp32")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra):
        open_best(bundle)


def test_unknown_artifact_and_device(bundle: Bundle) -> None:
    with pytest.raises(BadInput, match=r"no artifact 'onnx-fp64'.*onnx-fp32, openvino-fp32"):
        open_best(bundle, "onnx-fp64")
    with pytest.raises(BadInput, match="--device"):
        open_best(bundle, device="TPU9000")


def judged(bundle: Bundle, **rows: tuple[bool | None, float | None]) -> Bundle:
    artifacts = []
    for artifact in bundle.artifacts:
        passed, p50 = rows.get(
            artifact.id.replace("-", "_"), (artifact.record.passed, artifact.record.median_ms)
        )
        record = replace(artifact.record, passed=passed, latency_ms=LatencyRecord(p50=p50))
        artifacts.append(replace(artifact, record=record))
    return replace(bundle, artifacts=artifacts)


def test_the_fallback_is_the_fastest_that_passed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = judged(
        bundle,
        onnx_fp32=(True, 4.0),
        onnx_int8=(True, 2.0),
        openvino_fp32=(True, 4.1),
        openvino_int8=(True, 1.0),
    )
    assert [a.id for a in best_first(bundle, bundle.artifacts)] == [
        "openvino-fp32", "openvino-int8", "onnx-int8", "onnx-fp32",
    ]  # fmt: skip
    assert stand_in_note(bundle, open_best(bundle)[0]) is None
    monkeypatch.setitem(sys.modules, "openvino", None)
    chosen = open_best(bundle)[0]
    assert chosen.id == "onnx-int8"
    assert "openvino-fp32 is recommended and cannot run here; onnx-int8" in str(stand_in_note(bundle, chosen))


def test_what_failed_its_gates_is_used_by_name_only(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = judged(
        bundle,
        onnx_fp32=(True, 4.0),
        onnx_int8=(False, 2.0),
        openvino_fp32=(True, 4.1),
        openvino_int8=(False, 1.0),
    )
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert open_best(bundle)[0].id == "onnx-fp32"
    assert open_best(bundle, "onnx-int8")[0].id == "onnx-int8"
    bundle = judged(bundle, onnx_fp32=(False, 4.0), openvino_fp32=(False, 4.1))
    with pytest.raises(BadInput, match="failed its gates at export"):
        open_best(bundle)
