"""What a crop takes away, from headers, against areas computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from listening import Listening
from PIL import Image

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.crop_loss import measure_crop_loss, note_crop_loss, summarize_sizes, upright_sizes
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.runs.resize_records import CropLossRecord, ImageSizes

SIZES = {"square.png": (100, 100), "wide.png": (200, 100), "tall.png": (100, 400), "small.png": (8, 8)}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name, size in SIZES.items():
        Image.new("RGB", size).save(tmp_path / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "none.png").write_bytes(b"no image")
    names = [*SIZES, "turned.jpg", "none.png"]
    return Dataset(tmp_path, ["a"], [Sample(name, 0, name, "train") for name in names], [], [])


def test_the_lost_area_is_what_is_left_of_the_crop(dataset: Dataset) -> None:
    """Half of a wide image, three quarters of a tall one, nothing of a square."""
    found = measure_crop_loss(Preprocess(resize_size=(64, 64), crop=(64, 64)), upright_sizes(dataset))
    assert found is not None
    lost = {image.path: round(image.lost, 6) for image in found.worst}
    assert lost == {"tall.png": 0.75, "turned.jpg": 0.5, "wide.png": 0.5, "small.png": 0, "square.png": 0}
    assert next(iter(lost)) == "tall.png"
    assert (found.n, found.median) == (5, 0.5)


def test_the_margin_counts_and_a_turned_photograph_is_measured_upright(dataset: Dataset) -> None:
    """56 of 64 px; a crop that is wider than high sees more of an upright tall image's width."""
    margin = measure_crop_loss(Preprocess(resize_size=(64, 64), crop=(56, 56)), upright_sizes(dataset))
    wide = measure_crop_loss(Preprocess(resize_size=(64, 64), crop=(32, 64)), upright_sizes(dataset))
    assert margin is not None
    assert wide is not None
    assert {i.path: i.lost for i in margin.worst}["square.png"] == pytest.approx(1 - (56 / 64) ** 2)
    assert {i.path: i.lost for i in wide.worst}["turned.jpg"] == pytest.approx(1 - 32 / 128)
    assert {i.path: i.lost for i in wide.worst}["wide.png"] == pytest.approx(1 - 0.5 * 0.5)


def test_a_policy_that_crops_nothing_loses_nothing(dataset: Dataset) -> None:
    assert (
        measure_crop_loss(Preprocess(resize="exact", resize_size=(64, 64), crop=None), upright_sizes(dataset))
        is None
    )


def test_sizes_are_upright_and_count_what_is_enlarged(dataset: Dataset) -> None:
    """Widths 8, 100, 100, 100, 200; one side of 8 pixels alone is below 64."""
    found = summarize_sizes(upright_sizes(dataset), Preprocess(resize_size=(64, 64), crop=(64, 64)))
    assert found == ImageSizes(n=5, width=(8, 100, 200), height=(8, 100, 400), enlarged=1)
    assert summarize_sizes({}, Preprocess()) is None


def test_it_is_noted_where_half_of_the_images_lose_much_and_nobody_compared() -> None:
    notes: list[str] = []
    heard = Listening(note=notes.append)
    note_crop_loss(CropLossRecord(9, 0.29, ()), compared=False, listener=heard)
    note_crop_loss(CropLossRecord(9, 0.31, ()), compared=True, listener=heard)
    note_crop_loss(None, compared=False, listener=heard)
    assert not notes
    note_crop_loss(CropLossRecord(9, 0.31, ()), compared=False, listener=heard)
    assert "31% or more of the area of half of your images" in notes[0]
