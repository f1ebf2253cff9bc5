"""The contract as an OpenVINO model: sizes, crop and padding exact, levels within one of Pillow's."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from PIL import Image

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.openvino_pixels import pixel_model

CONTRACTS = [
    Preprocess(resize_size=(40, 40), crop=(32, 36)),
    Preprocess(resize_size=(20, 20), crop=(32, 30), interpolation="bicubic"),
    Preprocess(resize="exact", resize_size=(24, 33), crop=None),
    Preprocess(resize="none", crop=(21, 34)),
    Preprocess(resize="letterbox", resize_size=(30, 41), crop=None, pad=(3, 99, 250)),
    Preprocess(resize_size=(40, 40), crop=(32, 36), interpolation="lanczos"),
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.resize)
def test_pixels_are_within_one_level_of_pillows(contract: Preprocess) -> None:
    call = openvino.Core().compile_model(pixel_model(contract), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in [(60, 45), (45, 61), (23, 80), (131, 40)]:
        image = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        pixels = call(image)[0]
        assert pixels.dtype == np.uint8
        difference = np.abs(pixels[0].astype(int) - contract.pixels(Image.fromarray(image[0])))
        assert difference.mean() < 0.02
        assert difference.max() <= (0 if contract.resize == "none" else 1)


@pytest.mark.parametrize("size", [(60000, 100), (100, 60000)])
def test_a_strip_keeps_its_pixels(size: tuple[int, int]) -> None:
    """The products of its sides left 32 bits, and the middle was made of other rows."""
    contract = Preprocess(resize_size=(256, 256), crop=(32, 36))
    call = openvino.Core().compile_model(pixel_model(contract), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    image = np.random.default_rng(1).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    difference = np.abs(call(image)[0][0].astype(int) - contract.pixels(Image.fromarray(image[0])))
    assert difference.max() <= 1


@pytest.mark.parametrize("frame", [(9, 9), (224, 224), (64, 200)], ids=str)
def test_a_letterboxs_bars_lie_where_pillows_do(frame: tuple[int, int]) -> None:
    """With its colour, whatever the image; a strip of one pixel among them."""
    contract = Preprocess(
        resize="letterbox", resize_size=frame, crop=None, pad=(124, 116, 104), interpolation="bicubic"
    )
    call = openvino.Core().compile_model(pixel_model(contract), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in [(101, 448), (448, 101), (1, 900), (900, 1), (7, 5), (300, 300), (50, 9000)]:
        image = np.random.default_rng(width).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        expected = contract.pixels(Image.fromarray(image[0]))
        difference = np.abs(call(image)[0][0].astype(int) - expected)
        assert difference.max() <= 1, (height, width)
        bars = (expected == contract.pad).all(-1)
        assert not difference[bars].any()


def test_what_is_not_made_is_refused_in_one_sentence() -> None:
    with pytest.raises(EdgeTLError, match=r"nearest.*outside the model"):
        pixel_model(Preprocess(interpolation="nearest"))
