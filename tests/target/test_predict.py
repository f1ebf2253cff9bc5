"""Labels and probabilities, against a softmax of the raw logits."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_tl.target.bundle import Bundle, read_bundle
from edge_tl.target.errors import BadImage, BadInput, MissingExtra
from edge_tl.target.predict import open_best, predict


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
