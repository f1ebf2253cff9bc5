"""A finished file with its preprocessing in front: the answers of the file itself behind Pillow, for any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from device.conftest import ASSETS, CONTRACT, LABELS, picture

from edge_tl.device.errors import BadInput
from edge_tl.device.metrics import softmax
from edge_tl.device.model_metadata import facts_of
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.raw_pixels import raw_pixels
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert.image_input import check_can_be_inside, put_preprocessing_in_front

SIZES = [(40, 30), (31, 57), (16, 16), (200, 90)]


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml", "tiny.int8.onnx", "tiny.int8.xml"])
def test_a_joined_file_answers_as_the_file_behind_pillow(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"joined{Path(name).suffix}"
    put_preprocessing_in_front(ASSETS / name, out, CONTRACT, LABELS)
    joined, alone = open_runtime(out), open_runtime(ASSETS / name)
    assert joined.takes_pixels  # type: ignore[attr-defined]
    assert not alone.takes_pixels  # type: ignore[attr-defined]
    assert joined.precision == alone.precision  # the products of the preprocessing are no layers
    for seed, (width, height) in enumerate(SIZES):
        image = picture(seed, width=width, height=height)
        found = joined(raw_pixels(CONTRACT, image))  # type: ignore[arg-type]
        expected = softmax(alone(CONTRACT.apply(image)[None]))
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < (1e-5 if name == "tiny.onnx" else 0.02)


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_a_joined_file_says_its_input_and_its_labels(name: str, tmp_path: Path) -> None:
    told = ASSETS / name
    out = tmp_path / f"joined{Path(name).suffix}"
    put_preprocessing_in_front(told, out, CONTRACT, LABELS)
    said, kind = facts_of(out)
    assert kind == "image"
    assert facts_of(told).input == "tensor"
    assert said == {"labels": LABELS, "preprocess": CONTRACT.to_json()}


def test_a_float_image_is_refused_with_what_to_give(tmp_path: Path) -> None:
    put_preprocessing_in_front(ASSETS / "tiny.onnx", tmp_path / "joined.onnx", CONTRACT, LABELS)
    with pytest.raises(BadInput, match="Give uint8 1xnxnx3"):
        open_runtime(tmp_path / "joined.onnx")(np.zeros((1, 20, 20, 3), np.float32))


@pytest.mark.parametrize(
    "contract",
    [
        Preprocess(interpolation="lanczos"),
        Preprocess(resize="letterbox", resize_size=(9, 9), crop=None, pad=(1, 2, 3)),
    ],
)
def test_a_contract_that_cannot_be_inside_is_refused_with_what_to_do(contract: Preprocess) -> None:
    with pytest.raises(BadInput, match=r"--input: .*--input tensor"):
        check_can_be_inside(contract)
