"""A slimmed bundle is a bundle: it is sealed, its gates pass, and what was not kept is nowhere in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device.conftest import verify

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.records.bundle import SlimmedRecord
from edge_tl.device.records.gate import GateResult
from edge_tl.device.slim import _best as best_of
from edge_tl.device.slim import slim

Edit = Callable[..., None]


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keep", [["onnx-int8"], ["openvino-int8", "openvino-fp32"]])
def test_it_passes_its_gates_and_says_where_it_comes_from(
    bundle_root: Path, tmp_path: Path, keep: list[str]
) -> None:
    whole = read_bundle(bundle_root)
    record = slim(whole, keep, tmp_path / "a" / "small")
    small = read_bundle(tmp_path / "a" / "small")
    assert small.record == record
    assert [artifact.id for artifact in small.artifacts] == keep
    assert record.name == "small"
    assert record.provenance.slimmed == SlimmedRecord(str(whole.record.seal), tuple(keep))
    assert set(small.golden_logits()) == {"pytorch", *keep}
    assert (small.golden_pixels() == whole.golden_pixels()).all()
    result = verify(small)
    assert result["passed"]
    assert {gate["artifact"] for gate in result["gates"]} == {None, *keep}
    listed = {file.path for file in small.record.files}
    assert files(small.root) == {*listed, "bundle.json", "README.md"}
    assert list((tmp_path / "a").iterdir()) == [small.root]


def test_the_recommendation_goes_to_the_fastest_that_passed(
    bundle_root: Path, tmp_path: Path, reseal: Edit
) -> None:
    gates = [
        GateResult("pixels", None, 0.0, 2.0, "levels of 255", True, ""),
        GateResult("loss", "onnx-int8", 3.0, 1.0, "pp", False, ""),
    ]

    def change(record: dict[str, Any]) -> None:
        for artifact, (passed, p50) in zip(
            record["artifacts"], [(True, 3.0), (True, 2.0), (False, 0.5), (True, None)], strict=True
        ):
            artifact |= {"passed": passed, "latency_ms": {"p50": p50}}
        record["gates"] = [gate.to_json() for gate in gates]
        record |= {"recommended": "openvino-fp32", "recommendation": "Ship it."}

    reseal(bundle_root, change)
    whole = read_bundle(bundle_root)
    kept = slim(whole, ["openvino-fp32", "onnx-fp32"], tmp_path / "kept")
    assert (kept.recommended, kept.recommendation) == ("openvino-fp32", "Ship it.")
    assert kept.gates == (gates[0],)
    gone = slim(whole, ["onnx-fp32", "openvino-int8", "onnx-int8"], tmp_path / "gone")
    assert gone.recommended == "onnx-fp32"
    assert "recommended openvino-fp32" in str(gone.recommendation)
    assert len(gone.gates) == 2
    failed = slim(whole, ["onnx-int8"], tmp_path / "failed")
    assert failed.recommended is None


def test_what_some_cpus_refuse_is_recommended_last(bundle_root: Path, tmp_path: Path, reseal: Edit) -> None:
    def change(record: dict[str, Any]) -> None:
        record["recommended"] = "openvino-fp32"
        for artifact in record["artifacts"]:
            fast = artifact["id"] == "onnx-int8"
            artifact |= {"passed": True, "latency_ms": {"p50": 0.5 if fast else 2.0}}
            artifact |= {"requires": ["vnni", "dotprod"]} if fast else {}

    reseal(bundle_root, change)
    whole = read_bundle(bundle_root)
    assert slim(whole, ["onnx-fp32", "onnx-int8"], tmp_path / "both").recommended == "onnx-fp32"
    assert slim(whole, ["onnx-int8"], tmp_path / "alone").recommended == "onnx-int8"


def test_the_record_of_evidence_stays_behind(bundle_root: Path, tmp_path: Path, reseal: Edit) -> None:
    reseal(bundle_root, lambda record: record["artifacts"][0].update(changed=[]))
    assert (bundle_root / "report.json").is_file()
    record = slim(read_bundle(bundle_root), ["onnx-fp32"], tmp_path / "small")
    assert record.report is None
    assert "report.json" not in files(tmp_path / "small")


def test_what_is_refused_leaves_nothing(bundle_root: Path, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_root)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for keep, out, says in (
        (["onnx-fp64"], "new", "no artifact 'onnx-fp64'"),
        ([], "new", "nothing to keep"),
        (["onnx-fp32"], "mine", "not empty"),
        (["onnx-fp32"], "file", "a file is there"),
        (["onnx-fp32"], "tiny", "the bundle itself"),
        (["onnx-fp32"], "tiny/small", "inside it"),
    ):
        with pytest.raises(BadInput, match=says):
            slim(bundle, keep, tmp_path / out)
    (bundle_root / "model.fp32.onnx").write_bytes(b"changed since it was read")
    with pytest.raises(BadInput, match="damaged file"):
        slim(bundle, ["onnx-fp32"], tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_taken_and_others_can_read_it(bundle_root: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    slim(read_bundle(bundle_root), ["onnx-fp32"], tmp_path / "new")
    mode = (bundle_root / "golden").stat().st_mode
    assert (tmp_path / "new").stat().st_mode == mode


def test_without_pytorch(bundle_root: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules.update(torch=None, onnx=None, safetensors=None); from edge_tl.cli import main; "
        f"main(['slim', {str(bundle_root)!r}, '--keep', 'onnx-int8', '--out', {str(tmp_path / 'x')!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [artifact["id"] for artifact in json.loads(done.stdout)["artifacts"]] == ["onnx-int8"]
    assert "verify --data has nothing to compare" in done.stderr


def test_timed_on_a_busy_machine_the_smallest_is_recommended(
    bundle_root: Path, tmp_path: Path, reseal: Edit
) -> None:
    during = {"others": 1.4, "stolen": 0.0, "cores": 2.0}

    def change(record: dict[str, Any]) -> None:
        record["recommended"] = "openvino-fp32"
        record["conditions"] = {"before": {}, "after": {}, "during": during}
        for artifact, p50 in zip(record["artifacts"], [1.0, 2.0, 3.0, 4.0], strict=True):
            artifact |= {"passed": True, "latency_ms": {"p50": p50}}

    reseal(bundle_root, change)
    small = slim(read_bundle(bundle_root), ["onnx-fp32", "onnx-int8"], tmp_path / "small")
    sizes = {artifact.id: artifact.size_mb for artifact in small.artifacts}
    assert small.recommended == min(sizes, key=lambda name: sizes[name])
    whole = read_bundle(bundle_root).record
    smallest = min(whole.artifacts, key=lambda artifact: artifact.size_mb)
    assert best_of(whole) == smallest.id
    compressed = tuple(replace(a, precision="w8") if a is smallest else a for a in whole.artifacts)
    assert best_of(replace(whole, artifacts=compressed)) != smallest.id  # as at export
