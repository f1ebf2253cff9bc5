"""Letterbox against Pillow's own `ImageOps.pad`, five crops as data, and what a policy shows of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from edge_tl.device.errors import BundleError
from edge_tl.device.images.frame import fitted_size
from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess

GREY = (124, 116, 104)


def letterbox(height: int, width: int, **changes: Any) -> Preprocess:
    fields: dict[str, Any] = {
        "resize": "letterbox",
        "resize_size": (height, width),
        "crop": None,
        "pad": GREY,
    }
    return Preprocess(**(fields | changes))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("frame", [(64, 64), (48, 80), (31, 17)], ids=str)
def test_a_letterbox_is_pillows_pad(interpolation: str, frame: tuple[int, int]) -> None:
    contract = letterbox(*frame, interpolation=interpolation)
    for size in [
        (64, 64),
        (90, 60),
        (60, 90),
        (100, 33),
        (33, 100),
        (7, 5),
        (129, 128),
        (640, 427),
        (80, 48),
    ]:
        by = INTERPOLATIONS[interpolation]
        width, height = ImageOps.contain(noise(*size), frame[::-1], by).size
        # A pass at a time: in one call Pillow 13 takes the rows of a tall image first, earlier versions never.
        fitted = noise(*size).resize((width, size[1]), by).resize((width, height), by)
        expected = ImageOps.pad(fitted, frame[::-1], by, color=GREY)
        assert np.array_equal(contract.pixels(noise(*size)), np.asarray(expected)), size
        assert np.array_equal(contract.resized(noise(*size)), np.asarray(expected)), size


def test_every_size_is_rounded_as_pillow_rounds_it() -> None:
    """Halves among them: 7 x 448 in 224 is 3.5 px, which becomes 4, and 5 x 448 2.5, which becomes 2."""
    for width in range(1, 480, 29):
        for height in range(1, 480, 3):
            if min(width, height) * 224 >= max(width, height):  # of less Pillow makes no line, and raises
                expected = ImageOps.contain(
                    Image.new("L", (width, height)), (224, 224), Image.Resampling.NEAREST
                ).size
                assert fitted_size((width, height), (224, 224)) == expected
    assert fitted_size((448, 7), (224, 224)) == (224, 4)
    assert fitted_size((448, 5), (224, 224)) == (224, 2)


def test_where_the_image_lies_by_hand() -> None:
    """90 x 60 in 32 x 32: 21.33 rows, so 21; 11 are left, and 5.5 rounds to 6 above, 5 below."""
    got = letterbox(32, 32).pixels(Image.new("RGB", (90, 60), "white"))
    assert (got[:6] == GREY).all()
    assert (got[6:27] == 255).all()
    assert (got[27:] == GREY).all()


def test_a_sliver_keeps_a_line() -> None:
    """Pillow would make no line of it, and raise."""
    assert (letterbox(32, 32).pixels(Image.new("RGB", (1000, 1), "white")) == 255).any(axis=2).sum() == 32


def test_an_image_of_one_colour_is_still_told() -> None:
    assert letterbox(32, 32).framed(Image.new("RGB", (90, 60), "white")).remark


@pytest.mark.parametrize(
    "change",
    [
        {"pad": None}, {"pad": [0, 0]}, {"pad": [0, 0, 256]}, {"pad": [0.5, 0, 0]}, {"pad": "black"}, {"pad": 0},
        {"pad": [True, 0, 0]}, {"crop": [32, 32]}, {"resize": "exact"}, {"five_crop": [16, 16]}, {"pads": [0, 0, 0]},
    ],
    ids=str,
)  # fmt: skip
def test_a_letterbox_that_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="preprocess"):
        Preprocess.from_json(letterbox(32, 32).to_json() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"five_crop": [40, 40]}, {"five_crop": [48, 32]}, {"five_crop": [0, 32]}, {"five_crop": [32]},
        {"five_crop": 32}, {"crop": None}, {"pad": [0, 0, 0]}, {"resize": "letterbox"},
    ],
    ids=str,
)  # fmt: skip
def test_five_crops_that_are_not_understood_are_refused(change: dict[str, Any]) -> None:
    five = Preprocess(resize_size=(40, 40), crop=(40, 40), five_crop=(32, 32))
    assert Preprocess.from_json(five.to_json()) == five
    assert (five.input_size, five.single_crop().input_size) == ((40, 40), (32, 32))
    with pytest.raises(BundleError, match="preprocess"):
        Preprocess.from_json(five.to_json() | change)


def test_older_versions_read_what_they_know() -> None:
    assert not {"pad", "five_crop"} & set(Preprocess().to_json())
    assert letterbox(32, 32).to_json()["pad"] == [*GREY]


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (256, 256), (1000, 50)], ids=str)
def test_what_is_shown_is_where_the_pixels_are(size: tuple[int, int]) -> None:
    """An image whose red and green levels are the column and the row, enlarged by nothing, cropped."""
    width, height = size
    columns = np.broadcast_to(np.arange(width) * 255.0 / width, (height, width))
    rows = np.broadcast_to(np.arange(height)[:, None] * 255.0 / height, (height, width))
    image = Image.fromarray(np.stack([columns, rows, columns], -1).astype(np.uint8))
    contract = Preprocess(resize_size=(64, 64), crop=(48, 56))
    pixels = contract.pixels(image)[..., :2] / 255
    left, top, right, bottom = contract.shown(size)
    assert pixels[0, 0] == pytest.approx((left, top), abs=0.03)
    assert pixels[-1, -1] == pytest.approx((right, bottom), abs=0.03)


def test_letterbox_and_exact_show_all_and_a_crop_that_is_too_large_no_more_than_that() -> None:
    assert letterbox(32, 32).shown((90, 60)) == (0, 0, 1, 1)
    assert Preprocess(resize="exact", resize_size=(32, 32), crop=None).shown((90, 60)) == (0, 0, 1, 1)
    assert Preprocess(resize="none", crop=(50, 20)).shown((40, 40)) == (0.25, 0, 0.75, 1)
