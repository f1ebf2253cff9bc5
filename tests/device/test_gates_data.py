"""`verify --data`: accuracy on a labelled folder, against an independent computation."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import ARTIFACTS, CONTRACT, tell, verify
from listening import Listening
from PIL import Image

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.images.labelled_folder import labelled_folder

Edit = Callable[..., None]
LABELS = ["dog", "cat", "eel"]
FP32 = ["onnx-fp32", "openvino-fp32"]


def answers(model: Path, folder: Path) -> dict[Path, str]:
    """Each image's label, with Pillow, numpy and ONNX Runtime alone: 40x30 -> 26x20 -> the central 16x16."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(model))
    found = {}
    for path in sorted(folder.rglob("*.png")):
        image = Image.open(path).resize((26, 20), Image.Resampling.BILINEAR).crop((5, 2, 21, 18))
        scaled = (np.asarray(image) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        inputs = scaled.transpose(2, 0, 1)[None].astype(np.float32)
        found[path] = LABELS[int(session.run(None, {"input": inputs})[0].argmax())]
    return found


def rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["artifact"]: row for row in result["data"]["accuracy"]}


def gates_on_data(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {gate["artifact"]: gate for gate in result["gates"] if gate["unit"] == "pp"}


def test_accuracy_is_the_independent_one(bundle_root: Path, labelled: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    result = verify(
        read_bundle(bundle_root),
        data=labelled,
        listener=Listening(progress=lambda *state: calls.append(state)),
    )
    got = rows(result)
    right = {
        artifact: {p: a == p.parent.name for p, a in answers(bundle_root / model, labelled).items()}
        for artifact, model in (("onnx-fp32", "model.fp32.onnx"), ("onnx-int8", "model.int8.onnx"))
    }
    for artifact, hits in right.items():
        assert got[artifact]["accuracy"] == pytest.approx(sum(hits.values()) / 36)
        assert got[artifact]["n"] == 36
    assert 0 < got["onnx-fp32"]["accuracy"] < 1
    assert got["openvino-fp32"]["accuracy"] == got["onnx-fp32"]["accuracy"]
    fp32, int8 = right["onnx-fp32"], right["onnx-int8"]
    assert got["onnx-int8"]["lost"] == sum(fp32[p] and not int8[p] for p in fp32)
    assert got["onnx-int8"]["won"] == sum(int8[p] and not fp32[p] for p in fp32)
    assert result["data"]["reference"] == "onnx-fp32"
    assert "drop_pp" not in got["onnx-fp32"]
    assert set(gates_on_data(result)) == {"openvino-fp32", "onnx-int8", "openvino-int8"}
    assert result["data"]["skipped"] == []
    assert calls[-1] == ("images", 36, 36)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def allowing(bundle: Bundle, name: str, max_drop_pp: float) -> Bundle:
    """The bundle with another limit on the drop of one artifact."""
    artifacts = []
    for artifact in bundle.artifacts:
        limits = replace(artifact.limits, max_drop_pp=max_drop_pp)
        changed = replace(artifact, record=replace(artifact.record, limits=limits))
        artifacts.append(changed if artifact.id == name else artifact)
    return replace(bundle, artifacts=artifacts)


@pytest.mark.parametrize("under", [0.01, 200.0])
def test_a_gate_that_too_few_images_failed_says_so(bundle_root: Path, labelled: Path, under: float) -> None:
    bundle = read_bundle(bundle_root)
    drop = rows(verify(bundle, data=labelled, artifacts=FP32))["openvino-fp32"]["drop_pp"]
    bundle = allowing(bundle, "openvino-fp32", drop - under)
    gate = gates_on_data(verify(bundle, data=labelled, artifacts=FP32))["openvino-fp32"]
    assert not gate["passed"]
    assert ("so few cannot tell it" in gate["reason"]) == (under < 1)


def test_a_drop_beyond_the_budget_fails_that_artifact(
    bundle_root: Path, assets: Path, labelled: Path, tmp_path: Path, reseal: Edit
) -> None:
    """Labels are what the FP32 model answers, so it is always right; another model under INT8's name is not."""
    told = tmp_path / "told"
    for i, (path, label) in enumerate(answers(assets / "tiny.onnx", labelled).items()):
        (told / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, told / label / f"{i:03d}.png")
    shutil.copy(assets / "other.onnx", bundle_root / "model.int8.onnx")
    tell(bundle_root / "model.int8.onnx", LABELS, CONTRACT)
    other = answers(assets / "other.onnx", told)
    wrong = sum(label != path.parent.name for path, label in other.items())
    assert wrong > 2

    def budget(record: dict[str, Any]) -> None:
        for artifact in record["artifacts"]:
            artifact["limits"]["max_drop_pp"] = 1.0

    reseal(bundle_root, budget)
    result = verify(read_bundle(bundle_root), data=told, artifacts=[*FP32, "onnx-int8"])
    got, gates = rows(result), gates_on_data(result)
    assert got["onnx-fp32"]["accuracy"] == got["openvino-fp32"]["accuracy"] == 1.0
    assert got["onnx-int8"]["drop_pp"] == pytest.approx(100 * wrong / 36)
    assert got["onnx-int8"]["agreement"] == pytest.approx(1 - wrong / 36)
    assert gates["openvino-fp32"]["passed"]
    assert not gates["onnx-int8"]["passed"]
    assert gates["onnx-int8"]["gate"] == "loss"
    assert gates["onnx-int8"]["limit"] == 1.0
    assert not result["passed"]


def test_without_an_fp32_artifact_nothing_is_compared(bundle_root: Path, labelled: Path) -> None:
    result = verify(read_bundle(bundle_root), data=labelled, artifacts=["onnx-int8"])
    assert result["data"]["reference"] is None
    assert set(rows(result)["onnx-int8"]) == {"artifact", "accuracy", "n"}
    assert gates_on_data(result) == {}


def test_bad_images_are_named_and_the_rest_counts(bundle_root: Path, labelled: Path) -> None:
    """Seventeen bad ones first: a whole batch without a single image must not trouble a runtime."""
    intact = rows(verify(read_bundle(bundle_root), data=labelled))
    bad = [labelled / "cat" / f"!{i:02d}.jpg" for i in range(17)]
    for path in bad:
        path.write_text("no image", encoding="utf-8")
    result = verify(read_bundle(bundle_root), data=labelled)
    assert sorted(entry["path"] for entry in result["data"]["skipped"]) == sorted(map(str, bad))
    assert all("not an image" in entry["reason"] for entry in result["data"]["skipped"])
    assert rows(result) == intact
    assert {row["n"] for row in result["data"]["accuracy"]} == {36}


def test_an_image_in_two_classes_has_no_label_and_is_named(bundle_root: Path, labelled: Path) -> None:
    cats = sorted((labelled / "cat").iterdir())
    shutil.copy(cats[0], labelled / "eel" / "also.png")
    shutil.copy(cats[1], labelled / "cat" / "again.png")  # in one class: `finetune` uses one of them
    result = verify(read_bundle(bundle_root), data=labelled)
    skipped = {entry["path"]: entry["reason"] for entry in result["data"]["skipped"]}
    assert skipped == {
        **dict.fromkeys([str(cats[0]), str(labelled / "eel" / "also.png")], "the same image in two classes"),
        str(labelled / "cat" / "again.png"): "the same image twice in one class: one copy kept",
    }
    assert {row["n"] for row in result["data"]["accuracy"]} == {35}


def test_only_images_in_two_classes_are_none(bundle_root: Path, labelled: Path) -> None:
    for path in [*labelled.glob("dog/*.png"), *labelled.glob("eel/*.png")]:
        path.unlink()
    for path in labelled.glob("cat/*.png"):
        shutil.copy(path, labelled / "eel")
    with pytest.raises(BadInput, match=r"no usable image .*: the same image in two classes"):
        verify(read_bundle(bundle_root), data=labelled)


@pytest.mark.parametrize("split", ["test", "val"])
def test_splits_are_looked_into(bundle_root: Path, labelled: Path, tmp_path: Path, split: str) -> None:
    for name in {"train", "val", split}:
        shutil.copytree(labelled, tmp_path / "splits" / name)
    for path in (tmp_path / "splits" / split).rglob("0[3-9].png"):
        path.unlink()
    found = labelled_folder(LABELS, tmp_path / "splits")
    paths, labels = found.paths, found.labels
    assert found.root == str(tmp_path / "splits" / split)
    assert len(paths) == 15
    assert [LABELS[i] for i in labels] == [path.parent.name for path in paths]


def test_some_of_the_classes_are_enough(bundle_root: Path, labelled: Path) -> None:
    shutil.rmtree(labelled / "dog")
    found = labelled_folder(LABELS, labelled)
    assert len(found.paths) == 24
    assert set(found.labels.tolist()) == {1, 2}


def test_other_classes_are_refused_with_both_lists(bundle_root: Path, labelled: Path) -> None:
    (labelled / "eel").rename(labelled / "newt")
    with pytest.raises(BadInput, match=r"cat, dog, newt; .*dog, cat, eel") as caught:
        verify(read_bundle(bundle_root), data=labelled)
    assert str(labelled) in str(caught.value)


def test_what_is_no_labelled_folder(bundle_root: Path, labelled: Path, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_root)
    with pytest.raises(BadInput, match="no such folder"):
        verify(bundle, data=tmp_path / "none")
    with pytest.raises(BadInput, match="no such folder"):
        verify(bundle, data=labelled / "cat" / "00.png")
    (tmp_path / "flat").mkdir()
    with pytest.raises(BadInput, match=r"none; .*dog, cat, eel"):
        verify(bundle, data=tmp_path / "flat")
    (tmp_path / "flat" / "cat").mkdir()
    with pytest.raises(BadInput, match="no images below"):
        verify(bundle, data=tmp_path / "flat")
    (tmp_path / "flat" / "cat" / "a.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="no usable image"):
        verify(bundle, data=tmp_path / "flat")


def test_a_class_that_is_named_like_a_split(
    bundle_root: Path, labelled: Path, assets: Path, reseal: Edit
) -> None:
    """Which of two readings is meant, the bundle's labels tell."""
    (labelled / "eel").rename(labelled / "test")
    for files in ARTIFACTS.values():
        name, asset = next(iter(files.items()))
        shutil.copy(assets / asset, bundle_root / name)
        tell(bundle_root / name, ["dog", "cat", "test"], CONTRACT)
    reseal(bundle_root, lambda record: record.update(labels=["dog", "cat", "test"]))
    found = labelled_folder(read_bundle(bundle_root).labels, labelled)
    assert len(found.paths) == 36
    assert set(found.labels.tolist()) == {0, 1, 2}


def test_a_wrong_folder_is_refused_before_the_gates_take_their_time(
    bundle_root: Path, tmp_path: Path
) -> None:
    calls: list[str] = []
    with pytest.raises(BadInput, match="no such folder"):
        verify(
            read_bundle(bundle_root),
            data=tmp_path / "absent",
            listener=Listening(progress=lambda what, *_: calls.append(what)),
        )
    assert calls == []


def test_a_gate_whose_interval_holds_no_loss_and_the_limit_is_not_judged(
    bundle_root: Path, labelled: Path
) -> None:
    """36 images: INT8's drop is above a limit of nothing, and might be none at all."""
    bundle = read_bundle(bundle_root)
    row = rows(verify(bundle, data=labelled))["onnx-int8"]
    low, high = row["drop_ci_pp"]
    assert low < 0 < high
    bundle = allowing(bundle, "onnx-int8", max(0.0, row["drop_pp"] - 0.01))
    result = verify(bundle, data=labelled)
    gate = gates_on_data(result)["onnx-int8"]
    if row["drop_pp"] > 0:
        assert (gate["passed"], gate["judged"]) == (True, False)
        assert "give more images" in gate["reason"]
    assert result["passed"] == all(g["passed"] for g in result["gates"])


def test_how_much_of_the_bundle_was_verified(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    whole = verify(bundle)
    assert (whole["verified"], whole["of"], whole["recommended_verified"]) == (4, 4, True)
    part = verify(bundle, artifacts=["onnx-fp32"])
    assert (part["verified"], part["of"], part["recommended_verified"]) == (1, 4, False)
    bundle = replace(bundle, record=replace(bundle.record, recommended=None))
    assert verify(bundle, artifacts=["onnx-fp32"])["recommended_verified"] is None


@pytest.mark.parametrize(("judged", "other"), [("Testing", "Training"), ("TEST", "val"), ("dev", "train")])
def test_splits_by_any_usual_name_are_looked_into(
    labelled: Path, tmp_path: Path, judged: str, other: str
) -> None:
    for name in (judged, other):
        shutil.copytree(labelled, tmp_path / "splits" / name)
    assert labelled_folder(LABELS, tmp_path / "splits").root == str(tmp_path / "splits" / judged)
    (tmp_path / "outer").mkdir()
    (tmp_path / "splits").rename(tmp_path / "outer" / "splits")
    assert labelled_folder(LABELS, tmp_path / "outer").root == str(tmp_path / "outer" / "splits" / judged)


def test_training_images_alone_are_refused_by_that_name(labelled: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled, tmp_path / "splits" / "Train")
    with pytest.raises(BadInput, match="training images alone"):
        labelled_folder(LABELS, tmp_path / "splits")


def test_two_folders_of_validation_images_are_refused(labelled: Path, tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        shutil.copytree(labelled, tmp_path / "splits" / name)
    with pytest.raises(BadInput, match="both validation images"):
        labelled_folder(LABELS, tmp_path / "splits")


def test_a_class_is_matched_in_either_unicode_form(labelled: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "chaté") for form in ("NFC", "NFD"))
    (labelled / "cat").rename(labelled / decomposed)
    found = labelled_folder(["dog", composed, "eel"], labelled)
    assert found.labels.tolist().count(1) == 12


def test_what_is_not_judged_is_named_or_counted(bundle_root: Path, labelled: Path, tmp_path: Path) -> None:
    (labelled / "cat" / "gone.png").symlink_to(tmp_path / "absent.png")
    (labelled / "cat" / "00.png").rename(labelled / "cat" / "noname")
    (labelled / "cat" / "notes.txt").write_text("x")
    found = verify(read_bundle(bundle_root), data=labelled)["data"]
    assert {row["n"] for row in found["accuracy"]} == {36}
    assert found["skipped"] == [{"path": str(labelled / "cat" / "gone.png"), "reason": "a link to nothing"}]
    assert [(entry["kind"], entry["n"]) for entry in found["not_images"]] == [(".txt", 1)]


def test_a_closed_file_is_named_and_the_rest_judged(
    bundle_root: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def closed(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == "00.png" and path.parent.name == "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", closed)
    found = verify(read_bundle(bundle_root), data=labelled)["data"]
    assert {row["n"] for row in found["accuracy"]} == {35}
    assert found["skipped"][0]["reason"] == "cannot be read: Permission denied"


def test_copies_count_once_as_in_finetune(bundle_root: Path, labelled: Path) -> None:
    """The one kept is the first by path; whatever the copies are called, the figures stay."""
    before = rows(verify(read_bundle(bundle_root), data=labelled, artifacts=["onnx-fp32"]))
    (labelled / "dog" / "more").mkdir()
    copies = [labelled / "dog" / "zz.png", labelled / "dog" / "more" / "a.png"]
    for copy in copies:
        shutil.copy(labelled / "dog" / "00.png", copy)
    result = verify(read_bundle(bundle_root), data=labelled, artifacts=["onnx-fp32"])
    assert rows(result) == before
    assert {entry["path"] for entry in result["data"]["skipped"]} == set(map(str, copies))
    assert {entry["reason"] for entry in result["data"]["skipped"]} == {
        "the same image twice in one class: one copy kept"
    }


def test_an_answer_that_is_no_number_is_wrong_and_fails(
    bundle_root: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime

    call = OnnxRuntime.__call__

    def broken(self: OnnxRuntime, inputs: np.ndarray) -> np.ndarray:
        logits = call(self, inputs)
        return np.where(np.arange(len(logits))[:, None] % 2, logits, np.nan) if len(logits) > 1 else logits

    monkeypatch.setattr(OnnxRuntime, "__call__", broken)
    result = verify(read_bundle(bundle_root), data=labelled, artifacts=["openvino-fp32", "onnx-fp32"])
    [gate] = [gate for gate in result["gates"] if gate["unit"] == "images"]
    assert (gate["artifact"], gate["passed"]) == ("onnx-fp32", False)
    assert "NaN or infinite on 1" in gate["reason"]
    assert rows(result)["onnx-fp32"]["accuracy"] <= 0.5
    json.dumps(result, allow_nan=False)
