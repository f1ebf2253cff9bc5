"""A finished file with its preprocessing in front: the answers of the file itself behind Pillow, for any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from device.conftest import ASSETS, CONTRACT, LABELS, picture
from openvino import opset13

from edge_tl.device.errors import BadInput
from edge_tl.device.machine import openvino_core
from edge_tl.device.metrics import softmax
from edge_tl.device.model_metadata import facts_of
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.raw_pixels import raw_pixels
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert.image_input import (
    answers_to_images,
    check_can_be_inside,
    put_preprocessing_in_front,
)

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


def test_a_contract_that_cannot_be_inside_is_refused_with_why_and_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"--input: .*nearest.*rounding.*--input tensor"):
        check_can_be_inside(Preprocess(interpolation="nearest"))


@pytest.mark.parametrize(
    "contract",
    [
        Preprocess(interpolation="lanczos"),
        Preprocess(resize="letterbox", resize_size=(9, 9), crop=None, pad=(1, 2, 3)),
        Preprocess(crop=(240, 240), five_crop=(224, 224)),
    ],
)
def test_every_other_contract_can_be_inside(contract: Preprocess) -> None:
    check_can_be_inside(contract)


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml", "tiny.int8.onnx", "tiny.int8.xml"])
def test_the_pixels_are_the_shipped_files_own(name: str, tmp_path: Path) -> None:
    """They were those of a graph made anew: a file with red and blue exchanged was said to be right."""
    out, images = tmp_path / f"joined{Path(name).suffix}", [picture(3), picture(4, width=55)]
    put_preprocessing_in_front(ASSETS / name, out, CONTRACT, LABELS)
    want = np.stack([CONTRACT.pixels(image) for image in images]).transpose(0, 3, 1, 2)
    arrays = [np.asarray(image) for image in images]
    right = CONTRACT.levels(answers_to_images(out, ASSETS / name, arrays).inputs)
    assert np.abs(right - want).max() < 1.01
    exchange_channels(out)
    wrong = CONTRACT.levels(answers_to_images(out, ASSETS / name, arrays).inputs)
    assert np.abs(wrong - want).max() > 50
    np.testing.assert_allclose(wrong, right[:, ::-1], atol=2.1)


def exchange_channels(path: Path) -> None:
    """Red and blue of the image, in the file itself."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        [image] = model.graph.input
        for node in model.graph.node:
            node.input[:] = ["bgr" if name == image.name else name for name in node.input]
        order = onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order")
        model.graph.initializer.append(order)
        model.graph.node.insert(
            0, onnx.helper.make_node("Gather", [image.name, "order"], ["bgr"], "exchange", axis=3)
        )
        onnx.save(model, path)
        return
    model = openvino_core().read_model(path)
    [image] = model.get_parameters()
    readers = list(image.output(0).get_target_inputs())
    turned = opset13.gather(image, np.array([2, 1, 0]), np.int64(3))
    for reader in readers:
        reader.replace_source_output(turned.output(0))
    changed = path.with_name("changed.xml")
    openvino.save_model(model, changed, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        changed.with_suffix(suffix).replace(path.with_suffix(suffix))
