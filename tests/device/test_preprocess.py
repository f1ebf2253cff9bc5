"""The contract as data: written, read back, refused; levels undo what normalize did.

Decoding is in `test_contract_decode.py`, torchvision's bits in `test_contract_torchvision.py`.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BundleError
from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
SMALL = Preprocess(resize_size=(20, 20), crop=(16, 16))


def test_shapes_and_levels() -> None:
    for contract in (SMALL, Preprocess(resize="exact", resize_size=(12, 9), crop=None)):
        inputs = contract.apply(Image.fromarray(NOISE))
        assert inputs.shape == (3, *contract.input_size)
        assert inputs.dtype == np.float32
        assert inputs.flags.c_contiguous
        levels = contract.levels(inputs)
        assert np.abs(levels - np.moveaxis(contract.pixels(Image.fromarray(NOISE)), -1, 0)).max() < 1e-3


def test_levels_undo_normalize_for_every_level_and_batch() -> None:
    every = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 2, 2, 3))
    inputs = SMALL.normalize(every)
    assert inputs.shape == (256, 3, 2, 2)
    assert np.array_equal(np.rint(SMALL.levels(inputs)), np.moveaxis(every, -1, -3))
    by_hand = [(128 / 255 - m) / s for m, s in zip(SMALL.mean, SMALL.std, strict=True)]
    assert inputs[128, :, 0, 0] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("resize", "crop"), [("shorter", (9, 7)), ("exact", None), ("none", (5, 4))])
def test_json_round_trip(interpolation: str, resize: str, crop: tuple[int, int] | None) -> None:
    contract = Preprocess(resize, (11, 13), interpolation, crop, mean=(0.5, 0.25, 1 / 3), std=(0.1, 0.2, 0.3))
    assert Preprocess.from_json(json.loads(json.dumps(contract.to_json()))) == contract


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 2.2}, {"resize": "longer"}, {"interpolation": "area"}, {"color": "BGR"}, {"layout": "NHWC"},
        {"exif_transpose": False}, {"exif_transpose": 1}, {"crop": None}, {"interpolation": {}},
        {"resize": ["shorter"]},
        # Ill-typed or senseless: each would end in a traceback or in wrong pixels at the first image.
        {"mean": [0.5, 0.5]}, {"mean": [0, 485, 0.456, 0.406]}, {"mean": "abc"}, {"mean": None},
        {"mean": [0.5, "x", 0.5]}, {"mean": [math.nan, 0.5, 0.5]}, {"std": [0.2, 0.0, 0.2]}, {"std": 0.2},
        {"resize_size": 256}, {"resize_size": [256]}, {"resize_size": [0, 0]}, {"resize_size": [25.6, 25.6]},
        {"resize_size": ["256", "256"]}, {"crop": 224}, {"crop": [224]}, {"crop": [-1, 5]}, {"crop": [0, 0]},
    ],
    ids=str,
)  # fmt: skip
def test_a_contract_that_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="preprocess"):
        Preprocess.from_json(SMALL.to_json() | change)


@pytest.mark.parametrize(
    ("contract", "size"),
    [
        (SMALL, (16, 16)),
        (Preprocess(crop=(24, 20)), (24, 20)),
        (Preprocess(resize="exact", resize_size=(12, 9), crop=None), (12, 9)),
        (Preprocess(resize="exact", resize_size=(12, 9), crop=(5, 6)), (5, 6)),
        (Preprocess(resize="none", crop=(50, 8)), (50, 8)),
    ],
)
def test_the_input_size_is_what_comes_out(contract: Preprocess, size: tuple[int, int]) -> None:
    assert contract.input_size == contract.apply(Image.fromarray(NOISE)).shape[1:] == size


def test_a_crop_larger_than_the_image_is_padded_with_black() -> None:
    """40 x 30 px in 44 x 35: two rows on both sides, two columns to the left and three to the right."""
    got = Preprocess(resize="none", crop=(44, 35)).pixels(Image.fromarray(NOISE))
    assert np.array_equal(got[2:42, 2:32], NOISE)
    assert got.sum(dtype=np.int64) == NOISE.sum(dtype=np.int64)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_columns_are_resized_before_rows_whatever_pillow_would_do(interpolation: str) -> None:
    tall = np.random.default_rng(3).integers(0, 256, (207, 15, 3), dtype=np.uint8)
    contract = Preprocess(resize="exact", resize_size=(96, 128), crop=None, interpolation=interpolation)
    columns = Image.fromarray(tall).resize((128, 207), INTERPOLATIONS[interpolation])
    expected = np.asarray(columns.resize((128, 96), INTERPOLATIONS[interpolation]))
    assert np.array_equal(contract.pixels(Image.fromarray(tall)), expected)
