"""A folder per class or splits that hold them; what looks like splits and cannot be read as such is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folder_layout import folder_layout, split_of


def made(root: Path, spec: str) -> Path:
    for name in spec.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("spec", "splits"),
    [
        ("Training/a/1.png Testing/a/1.png", {"train": "Training", "test": "Testing"}),
        ("Train/a/1.png Test/a/1.png", {"train": "Train", "test": "Test"}),
        ("TRAIN/a/1.png VAL/a/1.png", {"train": "TRAIN", "val": "VAL"}),
        ("train/a/1.png dev/a/1.png test/a/1.png", {"train": "train", "val": "dev", "test": "test"}),
        ("training_set/a/1.png test_set/a/1.png", {"train": "training_set", "test": "test_set"}),
        ("dataset/train/a/1.png dataset/val/a/1.png", {"train": "dataset/train", "val": "dataset/val"}),
        ("x/x/Train/a/1.png x/x/Valid/a/1.png", {"train": "x/x/Train", "val": "x/x/Valid"}),
        ("train/a/1.png train/b/1.png", {"train": "train"}),
        ("test/a/1.png", {"test": "test"}),
        ("a/1.png b/1.png", {"": "."}),
        ("train/1.png plane/1.png", {"": "."}),  # a class may be called train
        ("train/1.png test/1.png tram/1.png", {"": "."}),
        ("train/steam/1.png plane/jet/1.png", {"": "."}),
        ("train/steam/1.png train/fast/1.png plane/jet/1.png plane/fast/1.png", {"": "."}),
        ("train-station/1.png test-tube/1.png", {"": "."}),
        ("only/a/1.png", {"": "."}),
    ],
)
def test_the_usual_names_of_splits_in_any_case_and_deeper(tmp_path: Path, spec: str, splits: dict[str, str]):
    found = folder_layout(made(tmp_path, spec))
    assert {split: str(f.relative_to(tmp_path)) for split, f in found.splits.items()} == splits
    assert list(found.splits) == [s for s in ("train", "val", "test", "") if s in splits]
    assert found.beside == []


def test_a_folder_beside_the_splits_is_told(tmp_path: Path):
    made(tmp_path, "train/a/1.png val/a/1.png extra/b/1.png")
    assert [f.name for f in folder_layout(tmp_path).beside] == ["extra"]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("train/a/1.png training/a/1.png", ["train, training", "both training images"]),
        ("train/a/1.png val/a/1.png valid/a/1.png", ["val, valid", "both validation images"]),
        ("train/a/1.png Train/a/1.png test/a/1.png", ["Train, train", "both training images"]),
        ("train/a/1.png test/1.png", ["test in", "no folder per class"]),
        ("train/1.png val/1.png", ["train, val", "no folder per class"]),
        ("train/a/1.png train/b/1.png samples/1.png", ["train in", "samples beside it"]),
        ("seg_train/a/1.png seg_test/a/1.png", ["seg_test, seg_train", "other names"]),
        ("train2017/a/1.png val2017/a/1.png", ["train2017, val2017", "other names"]),
        ("Training/a/1.png Training/b/1.png foo/a/1.png foo/b/1.png", ["Training in", "foo beside it holds"]),
        ("test/a/1.png test/b/1.png x/a/1.png x/b/1.png y/a/1.png y/b/1.png", ["test in", "x, y beside it"]),
        ("cat/train/1.png cat/test/1.png dog/train/1.png dog/test/1.png", ["each hold splits"]),
        ("data/train/a/1.png data/test/a/1.png docs/1.png", ["data holds splits"]),
    ],
)
def test_what_looks_like_splits_and_cannot_be_read_is_refused(tmp_path: Path, spec: str, parts: list[str]):
    with pytest.raises(BadInput) as caught:
        folder_layout(made(tmp_path, spec))
    for part in [*parts, str(tmp_path)]:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["contest", "latest", "trainer", "values", "device", "training wheels", ""])
def test_other_words_are_no_splits(name: str):
    assert split_of(name) is None
