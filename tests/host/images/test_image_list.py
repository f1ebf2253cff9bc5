"""Class folders to labelled images: what vanishes nowhere, and names that only look alike."""

from __future__ import annotations

import errno
import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening
from PIL import Image

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.images import folders
from edge_tl.device.records.image_files import SkippedFile
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import dataset_notes, listing
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.listing import list_images
from edge_tl.host.recipe.schema import Data

SHARES: dict[str, Any] = {"val": 0.2, "test": 0.2}


def picture(seed: int, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def fill(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(hash_of(name, i)))
    return root


def hash_of(name: str, i: int) -> int:
    return sum(name.encode()) * 1000 + i


def classes(root: Path, counts: dict[str, int]) -> Path:
    return fill(root, *(f"{label}/{i:03d}.png" for label, n in counts.items() for i in range(n)))


def lines(dataset: datasets.Dataset) -> list[str]:
    notes: list[str] = []
    dataset_notes.note_dataset(dataset, {}, Listening(note=notes.append))
    return notes


def test_nothing_in_a_class_folder_vanishes(tmp_path: Path):
    """Whatever lies there is used, or named, or counted by kind; in the terminal and in the record."""
    classes(tmp_path / "data", {"red": 6, "blue": 6})
    red = tmp_path / "data" / "red"
    for i, name in enumerate(
        ["IMG_0.HEIC", "IMG_1", "IMG_2.jpg_large", "IMG_3.mpo", "IMG_4.JPG", "wrong.txt"]
    ):
        (red / name).write_bytes(picture(900 + i))
    fill(tmp_path / "pool", "0.png", "1.png")
    (red / "more").symlink_to(tmp_path / "pool", target_is_directory=True)
    (red / "gone.jpg").symlink_to(tmp_path / "absent.jpg")
    (red / "DSC.NEF").write_bytes(picture(950, "TIFF"))
    for name in ("notes.txt", "a.xml", "b.xml", "Thumbs.db", ".DS_Store"):
        (red / name).write_text("no image")
    fill(tmp_path / "data", "stray.png")
    dataset = datasets.build_dataset(list_images(tmp_path / "data"), {}, Data(**SHARES), seed=0)
    used = {s.path for s in dataset.samples}
    assert {f"red/{n}" for n in ("IMG_0.HEIC", "IMG_1", "IMG_2.jpg_large", "IMG_3.mpo", "IMG_4.JPG")} < used
    assert {"red/wrong.txt", "red/more/0.png", "red/more/1.png"} < used
    skipped = {entry["path"]: entry["reason"] for entry in DataRecord.of(dataset).to_json()["skipped"]}
    assert sorted(skipped) == ["red/DSC.NEF", "red/gone.jpg", "stray.png"]
    counts = {entry["kind"]: entry["n"] for entry in DataRecord.of(dataset).to_json()["not_images"]}
    assert counts == {".xml": 2, ".txt": 1, "Thumbs.db": 1, ".DS_Store": 1}
    said = lines(dataset)
    assert all(any(path in line for line in said) for path in skipped)
    assert sum("passed over: 2 .xml" in line for line in said) == 1
    assert DataRecord.from_json(DataRecord.of(dataset).to_json()).dataset(dataset.labels) == dataset


def test_a_folder_that_is_no_class_for_its_name_alone_is_told(tmp_path: Path):
    classes(tmp_path, {"a": 6, "b": 6, "__background__": 3, "__MACOSX": 2})
    dataset = datasets.build_dataset(list_images(tmp_path), {}, Data(**SHARES), seed=0)
    assert dataset.labels == ["a", "b"]
    assert [entry.path for entry in dataset.skipped] == ["__background__"]


def test_many_files_of_one_reason_are_named_in_part_and_counted(tmp_path: Path):
    classes(tmp_path, {"a": 50, "b": 9})
    found = list_images(tmp_path)
    bad = {s.digest: "not an image" for s in found.samples if s.label == 0 and s.path >= "a/010.png"}
    said = lines(datasets.build_dataset(found, bad, Data(**SHARES), seed=0))
    assert sum(line.startswith("left out: a/") for line in said) == dataset_notes.SHOWN
    assert "left out: 20 more: not an image; run.json names them" in said
    assert "left out 40 in all: 40 not an image" in said


def test_file_names_that_steer_a_terminal_are_told_by_their_escape(tmp_path: Path):
    classes(tmp_path, {"a": 8, "b": 8})
    (tmp_path / "a" / "x\x1b[2J\u202e.png").symlink_to(tmp_path / "absent")
    dataset = datasets.build_dataset(list_images(tmp_path), {}, Data(**SHARES), seed=0)
    assert "a/x\x1b[2J\u202e.png" in {entry.path for entry in dataset.skipped}
    assert all(line.isprintable() for line in lines(dataset))


def test_a_closed_file_is_named_and_the_rest_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes(tmp_path, {"a": 8, "b": 8})
    hashed = listing.sha256_file

    def closed(path: Path) -> str:
        if path.name == "003.png" and path.parent.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return hashed(path)

    monkeypatch.setattr(listing, "sha256_file", closed)
    found = list_images(tmp_path)
    assert found.skipped == [SkippedFile("a/003.png", "cannot be read: Permission denied")]
    assert len(found.samples) == 15
    with pytest.raises(BadInput, match=r"a/003\.png: cannot be read"):
        datasets.build_dataset(found, {}, Data(on_bad_image="fail", **SHARES), seed=0)

    def exhausted(path: Path) -> str:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(listing, "sha256_file", exhausted)
    with pytest.raises(EdgeTLError, match="Too many open files"):
        list_images(tmp_path)


def test_a_closed_class_folder_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes(tmp_path, {"a": 4, "b": 4})
    scandir = os.scandir

    def closed(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", closed)
    with pytest.raises(
        BadInput, match=r"b: Permission denied|b.*cannot be read: Permission denied"
    ) as caught:
        list_images(tmp_path)
    assert "empty" not in str(caught.value)


def test_a_class_of_links_to_nothing_says_so(tmp_path: Path):
    classes(tmp_path, {"a": 4})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(BadInput, match=r"class 'b' .*x\.png: a link to nothing"):
        list_images(tmp_path)


def test_an_empty_class_says_what_it_holds(tmp_path: Path):
    classes(tmp_path, {"a": 4})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"class 'b' is empty: .* but 1 \.txt"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("Train", "Test"), ("TRAIN", "VAL"), ("set/train", "set/dev")],
)
def test_splits_by_any_name_never_become_classes(tmp_path: Path, train: str, test: str):
    for split, n in ((train, 8), (test, 4)):
        classes(tmp_path / split, {f"{c}": n for c in ("red", "blue")})
    found = list_images(tmp_path)
    assert found.labels == ["blue", "red"]
    assert {s.split for s in found.samples} == {"train", "test" if "est" in test else "val"}


def test_test_images_alone_are_refused(tmp_path: Path):
    classes(tmp_path / "test", {"a": 4, "b": 4})
    with pytest.raises(BadInput, match="only test images"):
        list_images(tmp_path)


def test_train_alone_is_split_as_a_plain_folder_is(tmp_path: Path):
    classes(tmp_path / "train", {"a": 20, "b": 20})
    counts = datasets.build_dataset(list_images(tmp_path), {}, Data(**SHARES), seed=0).counts()
    assert counts == {"train": 24, "val": 8, "test": 8}


def test_unicode_forms_of_a_class_are_one_class_between_splits(tmp_path: Path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    classes(tmp_path / "train", {composed: 6, "thé": 6})
    classes(tmp_path / "val", {decomposed: 3, "thé": 3})
    if len(list((tmp_path / "train").iterdir())) != 2:
        pytest.skip("this file system makes the two forms one")
    found = list_images(tmp_path)
    assert found.labels == sorted([composed, "thé"])
    assert {s.label for s in found.samples if s.split == "val"} == {0, 1}
    assert all(Path(str(source)).is_file() for source in found.sources())


def test_two_unicode_forms_side_by_side_are_refused_with_their_code_points(tmp_path: Path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    classes(tmp_path, {composed: 3, decomposed: 3})
    if len(list(tmp_path.iterdir())) != 2:
        pytest.skip("this file system makes the two forms one")
    with pytest.raises(BadInput, match=r"U\+0301.*U\+00E9"):
        list_images(tmp_path)
    rows = [f"{composed}/{i:03d}.png,{label}" for label in (composed, decomposed) for i in range(2)]
    (tmp_path / "l.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    with pytest.raises(BadInput, match=r"U\+0301.*U\+00E9|U\+00E9.*U\+0301"):
        list_images(tmp_path / "l.csv")


@pytest.mark.parametrize("label", ["a\x1b[31m", "a\nb", "a\u202eb"])
def test_class_folders_that_steer_a_terminal_are_refused(tmp_path: Path, label: str):
    classes(tmp_path, {label: 3, "b": 3})
    with pytest.raises(BadInput) as caught:
        list_images(tmp_path)
    assert str(caught.value).isprintable()
    assert "Rename" in str(caught.value)


def test_a_class_without_a_test_image_is_told(tmp_path: Path):
    classes(tmp_path, {"many": 60, "few": 2})
    dataset = datasets.build_dataset(list_images(tmp_path), {}, Data(val=0.15, test=0.15), seed=0)
    (line,) = [line for line in lines(dataset) if "test" in line]
    assert "no test image of few" in line
    assert "over all 2 classes" in line
    even = datasets.build_dataset(
        list_images(classes(tmp_path / "even", {"a": 20, "b": 20})), {}, Data(**SHARES), seed=0
    )
    assert lines(even) == []


def test_classes_of_the_same_images_say_so_and_not_to_add_images(tmp_path: Path):
    for label in "ab":
        for i in range(4):
            fill_one(tmp_path / label / f"{i}.png", i)
    with pytest.raises(BadInput, match="the same image in two classes") as caught:
        datasets.build_dataset(list_images(tmp_path), {}, Data(**SHARES), seed=0)
    assert "Add images" not in str(caught.value)


def fill_one(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(seed))


def test_a_class_of_one_image_many_times_says_so(tmp_path: Path):
    classes(tmp_path, {"a": 6})
    for i in range(5):
        fill_one(tmp_path / "b" / f"{i}.png", 1)
    with pytest.raises(BadInput, match=r"class 'b' has 1 usable image.*the same image"):
        datasets.build_dataset(list_images(tmp_path), {}, Data(**SHARES), seed=0)


def test_a_class_whose_images_cannot_be_decoded_says_why(tmp_path: Path):
    found = list_images(classes(tmp_path, {"a": 6, "b": 4}))
    bad = {s.digest: "truncated" for s in found.samples if s.label == 1}
    with pytest.raises(BadInput, match=r"class 'b' has 0 usable images.*truncated"):
        datasets.build_dataset(found, bad, Data(**SHARES), seed=0)
