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


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4, 1200), (320, 1280)),  # enlarged to 320 wide it would be 96,000 high
        ((1, 65_000), (320, 65_000)),
        ((160, 640), (320, 1280)),
        ((65_535, 2), (65_500, 2)),
        ((40, 65_535), (320, 65_400)),
    ],
)
def test_an_image_that_is_long_fits_a_jpeg(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = annotated_picture(Image.new("RGB", size), answer("daisy"), LABELS)
    assert picture.width == expected[0]
    assert expected[1] < picture.height <= min(65_500, expected[1] + 100)
    write_annotated(picture, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as read:
        assert read.size == picture.size


def test_labels_without_end_end() -> None:
    assert annotated_picture(Image.new("RGB", (32, 32)), answer(*["daisy"] * 9000), LABELS).height < 3000


def test_a_copy_that_fails_leaves_nothing_and_touches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = annotated_picture(Image.new("RGB", (32, 16)), answer("daisy"), LABELS)
    for name in (".x.jpg", "x.jpg"):
        write_annotated(picture, tmp_path / name)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".x.jpg", "x.jpg"]
    with pytest.raises(OSError, match="broken data stream"):
        write_annotated(Image.new("RGB", (1, 65_501)), tmp_path / "long.jpg")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_longest_name_that_a_file_has_is_cut() -> None:
    names = CopyNames(Path("out"))
    made = [names.of(Prediction(f"{folder}/{'ü' * 125}.png", ())).name for folder in "abc"]
    assert len(set(made)) == 3
    assert max(len(name.encode()) for name in made) < 220


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
