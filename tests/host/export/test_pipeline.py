"""What `pack` makes of a run: a verdict that its figures support, and a folder that is whole or no bundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shortcut

from edge_tl.device.bench.effort import QUICK
from edge_tl.device.bundle import read_bundle, read_report
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.host.export import artifacts, isa_caps, pipeline, publish, written_reports
from edge_tl.host.recipe import load
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.folder_lock import one_writer

Export = Callable[..., dict[str, Any]]


@pytest.fixture
def export(bundle: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """`pack.export` of the shared run, in a second: see `shortcut`."""
    shortcut.install(bundle, monkeypatch.setattr)

    def call(out: Path, source: Path = run, **changes: Any) -> dict[str, Any]:
        chosen = checkpoint.read_run(run).provenance.recipe
        chosen["export"] |= {"int8": True} | changes
        return pipeline.export(source, out, load.parse(chosen), effort=QUICK)

    return call


def test_what_was_returned_is_what_was_written(export: Export, tmp_path: Path):
    record = export(tmp_path / "b")
    assert record.pop("bundle") == str(tmp_path / "b")
    whole = read_report(tmp_path / "b").to_json()
    shown = ("bench", "verify", "pictures", "training")
    assert {key: value for key, value in whole.items() if key not in shown} == record
    device = read_bundle(tmp_path / "b").record.to_json()
    assert {key for key in device if not key.endswith("seal")} == {*record, "report"} - {"answers"}
    assert all(device[key] == record[key] for key in ("labels", "gates", "provenance", "recommended"))
    assert not [p for p in (tmp_path / "b").iterdir() if p.name.startswith(".")]
    assert record["name"] == "b"


def test_what_the_page_draws_is_in_the_report_alone(export: Export, run: Path, tmp_path: Path):
    export(tmp_path / "b")
    whole, device = read_report(tmp_path / "b"), (tmp_path / "b" / "bundle.json").read_text()
    assert whole.training["data"]["n"] == checkpoint.read_run(run).data.n.to_json()
    for found in (whole.reference.confidence, *(each.confidence for each in whole.artifacts)):
        assert found is not None
        assert sum(n for n, _, _ in found.bins) == whole.reference.n
    noise = {each.id: each.layer_errors for each in whole.artifacts if each.layer_errors}
    assert list(noise) == ["onnx-int8"]
    assert all(0 < each.sqnr_db < 60 for each in noise["onnx-int8"])
    assert not any(key in device for key in ('"bins"', '"layer_errors"', '"training"'))
    page = (tmp_path / "b" / "report.html").read_text("utf-8")
    for heading in ("Accuracy against latency", "Confusion matrices", "Quantization error by layer", "Data"):
        assert f"<h2>{heading}</h2>" in page


def test_a_failed_budget_is_recorded_and_everything_is_saved(
    export: Export, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The FP32 file stands in for INT8 with its classes shuffled: every answer is wrong."""
    plant(bundle, monkeypatch)
    record = export(tmp_path / "b", max_drop=0)
    rows = {a["id"]: a for a in record["artifacts"]}
    assert record["passed"] is rows["onnx-int8"]["passed"] is False
    assert rows["onnx-fp32"]["drop_pp"] == 0 < 50 < rows["onnx-int8"]["drop_pp"]
    assert any("budget 0 percentage points" in reason for reason in rows["onnx-int8"]["reasons"])
    assert record["recommended"] != "onnx-int8"
    assert len(rows["onnx-int8"]["changed"]) == rows["onnx-int8"]["lost"] > 9
    assert read_bundle(tmp_path / "b").record.passed is False
    assert (tmp_path / "b" / "report.html").is_file()


def plant(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import onnx

    graph = onnx.load(bundle / "model.fp32.onnx")
    head = next(node for node in graph.graph.node if node.op_type == "Gemm")
    for tensor in graph.graph.initializer:
        if tensor.name in head.input[1:]:
            turned = np.roll(onnx.numpy_helper.to_array(tensor), 1, axis=0)
            tensor.CopyFrom(onnx.numpy_helper.from_array(turned, tensor.name))
    copied = artifacts.move_files

    def keep(best: Any, to: Path) -> None:
        copied(best, to)
        if to.suffix == ".onnx":
            onnx.save(graph, to)

    monkeypatch.setattr(artifacts, "move_files", keep)


def test_an_artifact_that_does_not_run_is_an_entry_and_the_rest_is_a_bundle(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One INT8 candidate of EdgeNeXt ended the whole export, and with it everything else."""
    copied = artifacts.move_files

    def keep(best: Any, to: Path) -> None:
        copied(best, to)
        if to.suffix == ".onnx":
            to.write_bytes(b"no model")

    def caps(*there: Any) -> list[str]:
        return ["AVX2"]

    def dies(*there: Any) -> Any:
        raise EdgeTLError("model.int8.xml under AVX2: Segmentation fault")

    monkeypatch.setattr(artifacts, "move_files", keep)
    monkeypatch.setattr(isa_caps, "caps", caps)
    monkeypatch.setattr(isa_caps, "logits_under", dies)
    record = export(tmp_path / "b")
    assert [a["id"] for a in record["artifacts"]] == ["onnx-fp32", "openvino-fp32", "openvino-int8"]
    [gate] = [g for g in record["gates"] if g["artifact"] == "onnx-int8"]
    assert (gate["passed"], gate["reason"].startswith("not made: ")) == (False, True)
    assert not (tmp_path / "b" / "model.int8.onnx").exists()
    assert read_bundle(tmp_path / "b").record.recommended == record["recommended"] != "onnx-int8"
    [_, capped] = record["artifacts"][2]["proven_on"]
    assert (capped["cap"], capped["fault"]) == ("AVX2", "model.int8.xml under AVX2: Segmentation fault")
    assert "Segmentation fault" in (tmp_path / "b" / "report.md").read_text()


def test_a_page_that_cannot_be_drawn_is_an_entry(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*there: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr(written_reports, "write_bundle_page", fails)
    assert export(tmp_path / "b")["faults"] == {"report.html": "ValueError: no font"}
    read_bundle(tmp_path / "b")


def test_an_image_that_is_gone_leaves_out_as_it_was(
    export: Export, run: Path, images: Path, tmp_path: Path, bundle: Path
):
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["data"]["path"] = str(tmp_path / "moved away")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    shutil.copytree(bundle, tmp_path / "old")
    for out in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(BadInput, match="image of the run is gone"):
            export(out, tmp_path / "run")
    assert snapshot(tmp_path / "old") == snapshot(bundle)
    assert not (tmp_path / "new").exists()


def test_other_peoples_folders_and_runs_are_no_place_for_a_bundle(export: Export, run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("")
    for out in ("run", "mine"):
        with pytest.raises(BadInput, match="did not write"):
            export(tmp_path / out)
    assert snapshot(tmp_path / "run") == snapshot(run)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


STEPS = 13  # golden, README.txt, README.md, three reports, six model files, bundle.json


@pytest.fixture
def places(bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    """An old bundle, and in it the finished files of a new one that says it is new."""
    old, staging = tmp_path / "old", tmp_path / "old" / ".partial-x"
    shutil.copytree(bundle, old)
    shutil.copytree(bundle, staging)
    (staging / "bundle.json").unlink()
    pipeline.bundles.write_record(staging, replace(read_bundle(bundle).record, name="new"))
    return staging, old


@pytest.mark.parametrize("step", range(2 * STEPS + 1))
def test_publishing_stopped_at_any_step_keeps_the_old_bundle(
    step: int, places: tuple[Path, Path], bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """A kill at any step, and what the next export does then, is in `test_publish`."""
    staging, out = places
    replace, moved = os.replace, []

    def stopped(source: Any, target: Any) -> None:
        moved.append(Path(target).name)
        if len(moved) == step + 1:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(publish.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        publish.publish(staging, out, pipeline.BUNDLE_FILES)
    monkeypatch.undo()
    assert read_bundle(out).record.name == read_bundle(bundle).record.name
    shutil.rmtree(staging)
    assert snapshot(out) == snapshot(bundle)


def test_published_files_are_the_new_ones_and_the_record_comes_last(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    staging, out = places
    (out / "golden" / "left-over.png").write_text("from an older export")
    replace = os.replace
    moved: list[Path] = []

    def counted(source: Path, target: Path) -> None:
        moved.append(Path(target))
        replace(source, target)

    monkeypatch.setattr(publish.os, "replace", counted)
    publish.publish(staging, out, pipeline.BUNDLE_FILES)
    up = [path.name for path in moved if path.parent == out and not path.name.startswith(".")]
    assert len(up) == STEPS
    assert up[-1] == "bundle.json"
    assert read_bundle(out).record.name == "new"
    assert not (out / "golden" / "left-over.png").exists()
    assert not publish.is_interrupted(out)


def test_a_second_export_into_the_same_folder_is_told(export: Export, tmp_path: Path):
    (tmp_path / "b" / ".partial-of-the-first").mkdir(parents=True)
    with one_writer(tmp_path / "b"), pytest.raises(BadInput, match=r"another edge-tl .* writes into it"):
        export(tmp_path / "b")
    assert (tmp_path / "b" / ".partial-of-the-first").is_dir()


def test_a_full_disk_is_called_so_and_where(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*there: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "to_onnx", full)
    with pytest.raises(EdgeTLError, match=r"cannot write into .*/b: No space left on device\. Mend that"):
        export(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_a_killed_export_left_is_cleaned_up(export: Export, tmp_path: Path):
    (tmp_path / "b").mkdir()
    left = publish.make_marked(tmp_path / "b", ".partial-")
    (left / "golden").mkdir()
    (left / "golden" / "half").write_text("")
    export(tmp_path / "b")
    assert not left.exists()


def test_a_persons_own_hidden_folder_is_not_removed_and_proves_nothing(tmp_path: Path):
    own = tmp_path / ".partial-drafts" / "x"
    own.parent.mkdir()
    own.write_text("mine")
    assert not pipeline._is_ours(tmp_path)
    with pipeline._staged(tmp_path) as staging:
        assert pipeline._is_ours(tmp_path)
        (staging / "golden").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [".partial-drafts"]
    assert own.read_text() == "mine"


def test_what_a_killed_export_left_is_recovered_by_its_name_and_no_other(tmp_path: Path):
    """A name may hold what a pattern would not take literally; another one may begin with it."""
    for name in ("photos[1]", "photos[1]-2", "photos[1]-other"):
        (tmp_path / name).mkdir()
        (publish.make_marked(tmp_path / name, ".old-") / "bundle.json").write_text("{}")
    pipeline._recover(pipeline._numbered(tmp_path / "photos[1]"))
    assert (tmp_path / "photos[1]" / "bundle.json").is_file()
    assert (tmp_path / "photos[1]-2" / "bundle.json").is_file()
    assert not (tmp_path / "photos[1]-other" / "bundle.json").exists()
    assert publish.is_interrupted(tmp_path / "photos[1]-other")
    assert pipeline._numbered(tmp_path / "gone" / "photos") == []


@pytest.mark.parametrize("name", ["golden/mine.jpg", "report.html", "model.fp32.onnx"])
def test_a_persons_own_files_under_our_names_are_not_replaced(export: Export, tmp_path: Path, name: str):
    own = tmp_path / "b" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(BadInput, match="nothing there says that edge-tl made it"):
        export(tmp_path / "b")
    assert own.read_text() == "mine"
    assert [path.name for path in (tmp_path / "b").iterdir()] == [name.partition("/")[0]]
