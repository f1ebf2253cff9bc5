"""Where a map lies on the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.explain.heatmaps import ClassHeatmap
from edge_tl.device.explain.picture import heatmap_picture
from edge_tl.device.images.caption import is_drawable
from edge_tl.device.preprocess import Preprocess

CONTRACTS = {
    "shorter side and crop": Preprocess(resize_size=(64, 64), crop=(48, 48)),
    "squeezed": Preprocess(resize="exact", resize_size=(48, 48), crop=None),
    "letterbox": Preprocess(resize="letterbox", resize_size=(48, 48), crop=None, pad=(0, 0, 0)),
    "padded": Preprocess(resize="none", crop=(700, 700)),
}


def one_hot(size: int, y: int, x: int) -> ClassHeatmap:
    values = np.zeros((size, size), np.float32)
    values[y, x] = 1
    return ClassHeatmap("cat", values, "cam")


@pytest.mark.parametrize("name", CONTRACTS)
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500)])
def test_a_bright_spot_of_the_input_lies_on_the_same_spot_of_the_image(
    name: str, size: tuple[int, int]
) -> None:
    """The contract itself shows where a white spot of the image comes to lie in the model's input."""
    contract, at = CONTRACTS[name], (size[0] // 2 + 70, size[1] // 2 - 90)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (at[0] - 8, at[1] - 8, at[0] + 8, at[1] + 8))
    seen = contract.pixels(image)[..., 0].astype(np.float32)
    picture = heatmap_picture(
        Image.new("RGB", size), ClassHeatmap("cat", seen, "cam"), contract.input_box(size)
    )
    bright = np.argwhere(np.asarray(picture)[..., 0] > 100)
    middle = bright.mean(0)[::-1] / np.array(picture.size) * np.array(size)
    assert np.abs(middle - at).max() < 0.01 * max(size)


def test_what_the_model_did_not_see_is_striped_and_the_rest_is_not() -> None:
    contract = Preprocess(resize_size=(64, 64), crop=(64, 64))
    box = contract.input_box((600, 300))
    picture = np.asarray(heatmap_picture(Image.new("RGB", (600, 300), (90, 90, 90)), one_hot(4, 1, 1), box))
    assert box == pytest.approx((150, 0, 450, 300), abs=5)
    outside, inside = picture[:, :145], picture[:, 155:445]
    assert (outside[..., 0] == outside[..., 2]).all()  # grey
    assert len(np.unique(outside[..., 0])) == 2  # and the stripes
    assert (inside[..., 0] != inside[..., 2]).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (5000, 7), (28, 28)])
def test_any_image_becomes_a_picture_of_a_sane_size(size: tuple[int, int]) -> None:
    contract = Preprocess(resize="none", crop=(32, 32))
    picture = heatmap_picture(
        Image.new("RGB", size), one_hot(1, 0, 0), contract.input_box(size), caption="cat  93.1 %"
    )
    assert 320 <= max(picture.size) <= 1200


def test_a_map_of_one_value_is_drawn_too() -> None:
    flat = ClassHeatmap("cat", np.full((3, 3), 2, np.float32), "cam")
    picture = heatmap_picture(Image.new("RGB", (320, 320)), flat, (0, 0, 320, 320))
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) == 1


def test_letters_that_the_font_lacks_are_known() -> None:
    assert is_drawable("Löwenzahn Ryšavý 93 %")
    assert not is_drawable("猫")
    assert not is_drawable("a\x07b")
