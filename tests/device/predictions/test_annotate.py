"""Copies of images with their answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.predictions.annotate import (
    CopyNames,
    annotated_picture,
    check_annotated_folder,
    write_annotated,
)
from edge_tl.device.records.prediction import Prediction, Score

LABELS = ["daisy", "猫"]


def answer(*labels: str) -> Prediction:
    return Prediction("a.png", tuple(Score(label, 0.5) for label in labels))


def test_the_image_is_unchanged_above_its_answer(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    picture = annotated_picture(Image.fromarray(pixels), answer("daisy", "猫"), LABELS)
    assert picture.width == 400
    assert (np.asarray(picture)[:300] == pixels).all()
    assert np.asarray(picture)[300:].min() < 128 < np.asarray(picture)[300:].mean()
    write_annotated(picture, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as read:
        assert (read.format, read.size) == ("JPEG", picture.size)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jpg"]


def test_a_small_image_is_enlarged_so_that_its_answer_can_be_read() -> None:
    assert annotated_picture(Image.new("RGB", (32, 16)), answer("daisy"), LABELS).width == 320


def test_no_two_images_share_a_name() -> None:
    names = CopyNames(Path("out"))
    given = ["x/a.png", "y/a.jpg", "a-2.png", "A.png", "z/a.gif", "-", None]
    made = [names.of(Prediction(image, ())).name for image in given]
    assert made[:3] == ["a.jpg", "a-2.jpg", "a-2-2.jpg"]
    assert len({name.casefold() for name in made}) == len(given)
    assert names.of(Prediction("v.mp4", (), frame=7)).name == "frame-000007.jpg"


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    check_annotated_folder(tmp_path)
    check_annotated_folder(tmp_path / "new")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        check_annotated_folder(tmp_path)
    with pytest.raises(BadInput, match="a file is there"):
        check_annotated_folder(tmp_path / "mine")
