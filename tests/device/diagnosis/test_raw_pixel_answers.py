"""Answers of artifacts of raw pixels: what is left to get wrong is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from device import conftest
from device.diagnosis.pipelines import encoded
from device.raw_pixels_bundle import add_raw_pixels
from PIL import Image, ImageOps

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.diagnosis.answers import Answers, answers_of
from edge_tl.device.diagnosis.diagnose import diagnose
from edge_tl.device.diagnosis.search import Search
from edge_tl.device.runtimes.open import open_runtime


@pytest.fixture(scope="module", params=[False, True], ids=["both", "alone"])
def search(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Search:
    root = tmp_path_factory.mktemp("raw") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "goldens", lambda: {f"{i:02d}.jpg": encoded(i) for i in range(24)})
        conftest.build(root)
    return Search(read_bundle(add_raw_pixels(root, alone=request.param)))


def own_answers(bundle: Bundle, made: set[str], artifact: str = "onnx-fp32-image") -> Answers:
    """By a program of a few lines that makes these mistakes."""
    run, rows = open_runtime(bundle.artifact(artifact).path), []
    for path in bundle.golden_images():
        image: Image.Image = Image.open(path)
        if "exif_ignored" not in made:
            image = ImageOps.exif_transpose(image)
        if "corner" in made:
            image = image.crop((0, 0, 12, 12))
        pixels = np.asarray(image.convert("RGB"))[..., :: -1 if "bgr" in made else 1]
        rows.append(run(np.ascontiguousarray(pixels[None])))
    return answers_of(np.arange(len(rows)), np.concatenate(rows).astype(np.float64), 0.0)


@pytest.mark.parametrize("artifact", ["onnx-fp32-image", "openvino-fp32-image", "onnx-int8-image"])
def test_a_right_program_is_not_accused(search: Search, artifact: str) -> None:
    found = diagnose(search.bundle, own_answers(search.bundle, set(), artifact), search=search)
    assert (found.outcome, found.matches) == ("reference", ()), found


@pytest.mark.parametrize("made", ["bgr", "exif_ignored", "bgr+exif_ignored"])
def test_a_mistake_before_the_model_is_named(search: Search, made: str) -> None:
    given = own_answers(search.bundle, set(made.split("+")))
    found = diagnose(search.bundle, given, search=search)
    assert [match.mistake for match in found.matches] == [made], found


def test_the_artifact_that_is_meant_may_be_named(search: Search) -> None:
    given = own_answers(search.bundle, {"bgr"}, "onnx-int8-image")
    found = diagnose(search.bundle, given, artifact="onnx-int8-image")
    assert [match.mistake for match in found.matches] == ["bgr"], found


def test_what_was_not_looked_for_is_said(search: Search) -> None:
    found = diagnose(search.bundle, own_answers(search.bundle, {"corner"}), search=search)
    alone = all(each.takes_pixels for each in search.bundle.artifacts)
    assert any("every artifact here takes raw pixels" in note for note in found.notes) == alone
    assert found.outcome != "reference", found


def test_an_artifact_on_tensors_computes_the_mistakes_where_there_is_one(
    search: Search, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(search.bundle.root, tmp_path / "tiny"))
    fresh = Search(read_bundle(root))
    fresh.computed(own_answers(fresh.bundle, {"corner"}), [])
    used = {name.endswith("-image") for name in fresh._answering}
    assert used == {all(each.takes_pixels for each in fresh.bundle.artifacts)}
