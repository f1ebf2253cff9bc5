"""Labels and probabilities, against a softmax of the raw logits."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadImage, BadInput, MissingExtra
from edge_tl.device.predict import answer, best_first, instead, open_best, pictures, predict


@pytest.fixture
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


def test_the_recommended_artifact_is_opened(bundle: Bundle) -> None:
    artifact, runtime = open_best(bundle)
    assert artifact.id == bundle.record["recommended"] == "openvino-fp32"
    assert runtime.name == "openvino"


def test_another_when_asked_for_or_when_nothing_is_recommended(bundle: Bundle) -> None:
    artifact, runtime = open_best(bundle, "onnx-int8")
    assert (artifact.id, runtime.name) == ("onnx-int8", "onnxruntime")
    bundle.record["recommended"] = None
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


def test_probabilities_are_the_softmax_of_the_logits(bundle: Bundle) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(bundle.artifact("onnx-fp32").path))
    images = bundle.golden_images()
    logits = session.run(None, {"input": bundle.golden_pixels()})[0]
    got = predict(bundle, open_best(bundle, "onnx-fp32")[1], images)
    assert [record["image"] for record in got] == [str(path) for path in images]
    for record, row in zip(got, logits.tolist(), strict=True):
        weights = [math.exp(value) for value in row]
        expected = {
            label: weight / sum(weights) for label, weight in zip(bundle.labels, weights, strict=True)
        }
        shown = {entry["label"]: entry["probability"] for entry in record["top"]}
        assert shown == pytest.approx(expected, rel=1e-4)
        assert list(shown.values()) == sorted(shown.values(), reverse=True)
        assert record["top"][0]["label"] == bundle.labels[int(np.argmax(row))]


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_top(bundle: Bundle, top: int, shown: int) -> None:
    runtime = open_best(bundle)[1]
    got = predict(bundle, runtime, bundle.golden_images()[:1], top=top)
    assert len(got[0]["top"]) == shown


def test_bytes_have_no_name_and_the_same_answer(bundle: Bundle) -> None:
    runtime, path = open_best(bundle)[1], bundle.golden_images()[1]
    from_path, from_bytes = predict(bundle, runtime, [path, path.read_bytes()])
    assert from_bytes["image"] is None
    assert from_bytes["top"] == from_path["top"]


def test_a_bad_image_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image", encoding="utf-8")
    with pytest.raises(BadImage, match=r"notes\.jpg"):
        predict(bundle, open_best(bundle)[1], [bundle.golden_images()[0], tmp_path / "notes.jpg"])


def test_no_images(bundle: Bundle) -> None:
    assert predict(bundle, open_best(bundle)[1], []) == []


def judged(bundle: Bundle, **rows: tuple[bool | None, float | None]) -> None:
    for name, (passed, p50) in rows.items():
        entry = bundle.artifact(name.replace("_", "-")).record
        entry |= {"passed": passed, "latency_ms": {"p50": p50}}


def test_the_fallback_is_the_fastest_that_passed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(
        bundle,
        onnx_fp32=(True, 4.0),
        onnx_int8=(True, 2.0),
        openvino_fp32=(True, 4.1),
        openvino_int8=(True, 1.0),
    )
    assert [a.id for a in best_first(bundle, bundle.artifacts)] == [
        "openvino-fp32", "openvino-int8", "onnx-int8", "onnx-fp32",
    ]  # fmt: skip
    assert instead(bundle, open_best(bundle)[0]) is None
    monkeypatch.setitem(sys.modules, "openvino", None)
    chosen = open_best(bundle)[0]
    assert chosen.id == "onnx-int8"
    assert "openvino-fp32 is recommended and cannot run here; onnx-int8" in str(instead(bundle, chosen))


def test_what_failed_its_gates_is_used_by_name_only(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(
        bundle,
        onnx_fp32=(True, 4.0),
        onnx_int8=(False, 2.0),
        openvino_fp32=(True, 4.1),
        openvino_int8=(False, 1.0),
    )
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert open_best(bundle)[0].id == "onnx-fp32"
    assert open_best(bundle, "onnx-int8")[0].id == "onnx-int8"
    judged(bundle, onnx_fp32=(False, 4.0), openvino_fp32=(False, 4.1))
    with pytest.raises(BadInput, match="failed its gates at export"):
        open_best(bundle)


def test_pixels_and_pillow_images_have_the_files_answer(bundle: Bundle) -> None:
    runtime, path = open_best(bundle)[1], bundle.golden_images()[4]
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    pixels = np.asarray(image)
    answers = predict(bundle, runtime, [path, str(path), image, pixels, bytearray(path.read_bytes())])
    assert all(answer["top"] == answers[0]["top"] for answer in answers)
    assert [answer["image"] for answer in answers] == [str(path), str(path), None, None, None]


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), 3, None]
)
def test_what_is_no_image_says_what_to_give(bundle: Bundle, wrong: object) -> None:
    with pytest.raises(BadInput, match=r"is no image\. Give .*\(H, W, 3\)"):
        predict(bundle, open_best(bundle)[1], [wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("alone", ["photo.jpg", b"\x89PNG", np.zeros((8, 8, 3), np.uint8)])
def test_one_image_in_place_of_a_list_is_refused(bundle: Bundle, alone: object) -> None:
    with pytest.raises(BadInput, match="list of images"):
        predict(bundle, open_best(bundle)[1], alone)  # type: ignore[arg-type]


def test_a_folder_becomes_its_images_and_what_it_leaves_out_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for place in (tmp_path / "photos" / "b.png", tmp_path / "photos" / "deep" / "a.png"):
        place.write_bytes(bundle.golden_images()[5].read_bytes())
    (tmp_path / "photos" / "broken.png").write_text("text")
    (tmp_path / "photos" / "raw.nef").write_text("raw")
    files, failed = pictures([tmp_path / "photos"])
    assert [path.name for path in files] == ["b.png", "broken.png", "a.png"]
    assert [Path(one["image"]).name for one in failed] == ["raw.nef"]
    results, bad = answer(bundle, open_best(bundle)[1], files)
    assert len(results) == 2
    assert [Path(one["image"]).name for one in bad] == ["broken.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="no image below"):
        pictures([tmp_path / "none"])
