"""A wrong preprocessing in the shipped file fails the export, however well it scores; rounding does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import shortcut

from edge_tl.device.bench.effort import QUICK
from edge_tl.device.bench.workloads import OUTSIDE
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.image_input import ImageInputRecord
from edge_tl.device.records.timing import SkippedRecord
from edge_tl.host.export import image_artifacts, pipeline
from edge_tl.host.export.image_gates import least_agreement, preprocessing_gates
from edge_tl.host.recipe import load
from edge_tl.host.runs import checkpoint

Patch = pytest.MonkeyPatch
Export = Callable[..., dict[str, Any]]


@pytest.fixture
def export(bundle: Path, run: Path, tmp_path: Path, monkeypatch: Patch) -> Export:
    """See `shortcut`; what takes raw pixels has the timing of what it is made of."""
    shortcut.install(bundle, monkeypatch.setattr)
    stored = pipeline.time_interleaved

    def timed(field: list[Any], **options: Any) -> BenchResult:
        asked = {workload.id: workload for workload in field}
        names = {name: name.replace(OUTSIDE, "").replace("-image", "") for name in asked}
        twins = [replace(asked[name], id=twin) for name, twin in names.items()]
        found = stored(twins, **options)
        rows = {row.id: row for row in found.artifacts}
        return replace(found, artifacts=tuple(replace(rows[twin], id=name) for name, twin in names.items()))

    monkeypatch.setattr(pipeline, "time_interleaved", timed)

    def call(**changes: Any) -> dict[str, Any]:
        chosen = checkpoint.read_run(run).provenance.recipe
        chosen["export"] |= {"int8": True, "input": "both"} | changes
        return pipeline.export(run, tmp_path / "b", load.parse(chosen), effort=QUICK)

    return call


def test_exchanged_channels_fail_the_export_and_right_ones_do_not(export: Export, monkeypatch: Patch) -> None:
    """Everything passed: FP32's agreement was whatever it was, and a gain is a negative drop."""
    make = image_artifacts._make

    def exchanged(job: Any, twin: ArtifactRecord) -> bool:
        made = make(job, twin)
        if twin.runtime == "onnxruntime":
            exchange_after_normalizing(job.staging / image_artifacts._image_name(twin.main))
        return made

    monkeypatch.setattr(image_artifacts, "_make", exchanged)
    record = export()
    rows = {row["id"]: row for row in record["artifacts"]}
    for precision in ("fp32", "int8"):
        wrong, right = rows[f"onnx-{precision}-image"], rows[f"openvino-{precision}-image"]
        assert wrong["passed"] is False
        assert any("orders channels" in reason for reason in wrong["reasons"])
        assert wrong["image_input"]["levels_max"] > 5
        assert right["image_input"]["levels_max"] <= 1
        assert not [g for g in record["gates"] if g["artifact"] == right["id"] and not g["passed"]]
    assert not record["passed"]
    assert rows["onnx-fp32-image"]["limits"]["golden_agreement"] > 0.8


def test_what_int8_is_proven_on_is_its_own(export: Export) -> None:
    """Rows, confidence and fingerprints of the file on tensors were handed on."""
    record = export(input="image")
    assert "fingerprints" not in record
    for row in record["artifacts"]:
        if row["precision"] != "int8":
            continue
        here, *lesser = row["proven_on"]
        assert (here["drop_pp"], here["agreement"]) == (row["drop_pp"], row["agreement"])
        assert all("not run with raw pixels" in each["fault"] for each in lesser)
        said = [g for g in record["gates"] if g["artifact"] == row["id"] and "not run with" in g["reason"]]
        assert not [g for g in said if g["judged"]]


def exchange_after_normalizing(path: Path) -> None:
    """The images of these tests are grey: their channels differ by their mean and std alone."""
    model = onnx.load(path)
    nodes = model.graph.node
    [last] = [node for node in nodes if node.name.startswith("pixels/") and not node.output[0].startswith("pixels/")
              and "softmax" not in node.name]  # fmt: skip
    name = last.output[0]
    last.output[0] = "exchanged"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order"))
    after = list(nodes).index(last) + 1
    nodes.insert(after, onnx.helper.make_node("Gather", ["exchanged", "order"], [name], "turn", axis=1))
    onnx.save(model, path)


def test_what_is_timed_beside_may_be_lost(export: Export, monkeypatch: Patch) -> None:
    """A lost timing beside an artifact failed the export; a lost artifact on tensors leaves its twin without one."""
    timed, gone = pipeline.time_interleaved, {"openvino-fp32-image" + OUTSIDE, "onnx-int8"}

    def lost(field: list[Any], **options: Any) -> BenchResult:
        if gone & {workload.id for workload in field}:
            raise EdgeTLError("it ended its process")
        return timed(field, **options)

    def startable(field: list[Any]) -> tuple[list[Any], list[SkippedRecord]]:
        names = [workload.id for workload in field]
        return [], [SkippedRecord(artifact=name, reason="killed") for name in names if name in gone]

    monkeypatch.setattr(pipeline, "time_interleaved", lost)
    monkeypatch.setattr(pipeline, "startable", startable)
    record = export()
    rows = {row["id"]: row for row in record["artifacts"]}
    assert "onnx-int8" not in rows
    said = {name: (row.get("image_input") or {}).get("not_judged") for name, row in rows.items()}
    assert said["openvino-fp32-image"] == "could not be timed: killed"
    assert said["onnx-int8-image"] == "could not be timed: the artifact on tensors does not run here"
    assert "could not" not in (said["onnx-fp32-image"] or "")


OWN = ImageInputRecord((30, 40), 900, 0, 1.0, 0.01, 0.01)


@pytest.mark.parametrize(
    ("precision", "change", "failing"),
    [
        ("fp32", {}, []),
        ("fp32", {"flips": 1}, ["changed answers"]),
        ("fp32", {"flips": 10, "n": 10_000}, []),
        ("fp32", {"probability_diff_max": 0.06}, ["of a probability"]),
        ("int8", {"flips": 9, "probability_diff_max": 0.06}, []),
        ("int8", {"probability_diff_max": 0.8}, ["of a probability"]),
        ("int8", {"levels_max": 2.0}, ["levels of 255"]),
    ],
)
def test_rounding_passes_and_more_does_not(
    precision: str, change: dict[str, Any], failing: list[str]
) -> None:
    artifact: Any = type("A", (), {"id": "a-image", "precision": precision})
    artifact.image_input = replace(OWN, **change)
    assert [gate.unit for gate in preprocessing_gates(artifact) if not gate.passed] == failing


def test_fp32_shares_all_golden_answers_but_one() -> None:
    expected = np.eye(4, dtype=np.float32)
    assert least_agreement(expected, expected) == 1.0
    assert least_agreement(expected[[1, 0, 3, 2]], expected) == 0.75
