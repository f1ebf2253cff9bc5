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


@pytest.mark.parametrize(
    ("contract", "word"),
    [
        (Preprocess(interpolation="lanczos"), "lanczos"),
        (Preprocess(resize="letterbox", resize_size=(9, 9), crop=None, pad=(1, 2, 3)), "letterbox"),
    ],
)
def test_what_is_not_made_is_refused_in_one_sentence(contract: Preprocess, word: str) -> None:
    with pytest.raises(EdgeTLError, match=f"{word}.*outside the model"):
        pixel_model(contract)
