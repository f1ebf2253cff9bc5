"""Folders to labelled splits: what counts as data, what is refused, and a split that only content decides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tl.host import data
from edge_tl.target.errors import BadInput

SHARES = {"val": 0.25, "test": 0.25}


def write(root: Path, *names: str, content: str | None = None) -> Path:
    """Files that are images by name; unless given, each has content of its own."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if content is not None else f"content of {name}")
    return root


def tree(root: Path, classes: dict[str, int]) -> Path:
    for label, count in classes.items():
        write(root, *(f"{label}/{i:03d}.png" for i in range(count)))
    return root


def settled(root: Path, seed: int = 0, bad: dict[str, str] | None = None, **options: str) -> data.Dataset:
    return data.settle(data.scan(root), bad or {}, seed=seed, **SHARES, **options)


def placed(dataset: data.Dataset) -> dict[str, str | None]:
    return {sample.digest: sample.split for sample in dataset.samples}


def refused(root: Path) -> str:
    with pytest.raises(BadInput) as caught:
        settled(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_class_folders(tmp_path: Path):
    listing = data.scan(tree(tmp_path, {"dog": 3, "cat": 2}))
    assert listing.labels == ["cat", "dog"]
    assert [s.label for s in listing.samples] == [0, 0, 1, 1, 1]
    assert {s.split for s in listing.samples} == {None}
    for sample in listing.samples:
        assert sample.digest == hashlib.sha256((tmp_path / sample.path).read_bytes()).hexdigest()


def test_only_visible_image_files_count(tmp_path: Path):
    tree(tmp_path, {"a": 2, "b": 2})
    write(tmp_path, ".git/x.png", "__MACOSX/a/y.png", "a/.hidden.png", "a/.thumbs/t.png", "a/notes.txt")
    write(tmp_path, "readme.png", "a/Thumbs.db", "a/deeper/still/in_a.JPG")
    (tmp_path / "a" / "folder.png").mkdir()
    found = [s.path for s in data.scan(tmp_path).samples]
    assert found == ["a/000.png", "a/001.png", "a/deeper/still/in_a.JPG", "b/000.png", "b/001.png"]


def test_labels_keep_their_unicode(tmp_path: Path):
    labels = ["été", unicodedata.normalize("NFD", "ñandú"), "🐱 cat", "two  spaces", "日本", "a.b", "'q'"]
    assert unicodedata.normalize("NFC", labels[1]) != labels[1]
    dataset = settled(tree(tmp_path, dict.fromkeys(labels, 4)))
    assert dataset.labels == sorted(labels)
    again = data.Dataset.from_json(dataset.to_json(), dataset.labels)
    assert again == dataset
    assert all(path.is_file() for path in again.paths(again.samples))


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_a_folder_that_is_split_keeps_its_split(tmp_path: Path, val: str):
    folders = {"train": "train", "val": val, "test": "test"}
    for split, name in folders.items():
        write(tmp_path, *(f"{name}/{label}/{i}.png" for label in "ab" for i in range(len(split))))
    write(tmp_path, "extra/c/1.png")  # beside the splits: no class
    dataset = settled(tmp_path)
    assert dataset.counts() == {"train": 10, "val": 6, "test": 8}
    assert all(s.path.startswith(f"{folders[str(s.split)]}/") for s in dataset.samples)


def test_train_and_test_alone_draw_val_from_train(tmp_path: Path):
    for split in ("train", "test"):
        for label in "ab":
            write(tmp_path, *(f"{split}/{label}/{i}.png" for i in range(8)))
    dataset = settled(tmp_path)
    assert dataset.counts() == {"train": 12, "val": 4, "test": 16}
    assert all(s.path.startswith("test") == (s.split == "test") for s in dataset.samples)


def test_train_and_val_alone_have_no_test(tmp_path: Path):
    for split in ("train", "val"):
        write(tmp_path, *(f"{split}/{label}/{i}.png" for label in "ab" for i in range(4)))
    assert settled(tmp_path).counts() == {"train": 8, "val": 8, "test": 0}


def test_a_class_may_be_called_train(tmp_path: Path):
    assert settled(tree(tmp_path, {"train": 4, "plane": 4})).labels == ["plane", "train"]


def test_the_split_is_stratified_disjoint_and_repeatable(tmp_path: Path):
    tree(tmp_path, {"a": 40, "b": 20, "c": 8})
    first = settled(tmp_path)
    assert Counter((s.split, s.label) for s in first.samples) == Counter(
        {("train", 0): 20, ("train", 1): 10, ("train", 2): 4}
        | {(split, label): n for split in ("val", "test") for label, n in ((0, 10), (1, 5), (2, 2))}
    )
    assert len(placed(first)) == len(first.samples) == 68
    assert settled(tmp_path) == first
    assert placed(settled(tmp_path, seed=1)) != placed(first)


def test_renaming_and_moving_files_changes_nothing(tmp_path: Path):
    tree(tmp_path, {"a": 30, "b": 30})
    before = placed(settled(tmp_path))
    for i, path in enumerate(sorted((tmp_path / "a").iterdir())):
        path.rename(path.with_name(f"{999 - i}.png"))
    (tmp_path / "b" / "sub").mkdir()
    for path in sorted((tmp_path / "b").glob("*.png"))[::2]:
        path.rename(path.parent / "sub" / path.name)
    assert placed(settled(tmp_path)) == before


def test_other_images_hardly_move_the_split(tmp_path: Path):
    """Content decides, not position: one more image may move an image across a border, not reshuffle all."""
    tree(tmp_path, {"a": 40, "b": 40})
    before = placed(settled(tmp_path))
    write(tmp_path, "a/new.png")
    after = placed(settled(tmp_path))
    assert sum(after[digest] != split for digest, split in before.items()) <= 2


def test_a_copy_in_the_same_class_is_kept_once_in_train(tmp_path: Path):
    tree(tmp_path, {"a": 9, "b": 9})
    write(tmp_path, "a/copy1.png", "a/copy2.png", content="the same")
    dataset = settled(tmp_path)
    kept = [s for s in dataset.samples if "copy" in s.path]
    assert [(s.path, s.split) for s in kept] == [("a/copy1.png", "train")]
    assert dataset.duplicates == [
        {
            "paths": ["a/copy1.png", "a/copy2.png"],
            "reason": "the same image twice in one class: one copy kept",
        }
    ]


def test_a_copy_in_two_classes_takes_no_part(tmp_path: Path):
    tree(tmp_path, {"a": 9, "b": 9})
    write(tmp_path, "a/x.png", "b/y.png", content="rose or tulip")
    dataset = settled(tmp_path)
    assert len(dataset.samples) == 18
    assert [(d["paths"], "two classes" in d["reason"]) for d in dataset.duplicates] == [
        (["a/x.png", "b/y.png"], True)
    ]


@pytest.mark.parametrize(
    ("pair", "stays"), [(("train", "val"), 1), (("train", "test"), 1), (("val", "test"), 0)]
)
def test_a_copy_in_two_splits_never_leaks(tmp_path: Path, pair: tuple[str, str], stays: int):
    for split in ("train", "val", "test"):
        write(tmp_path, *(f"{split}/{label}/{i}.png" for label in "ab" for i in range(3)))
    write(tmp_path, f"{pair[0]}/a/x.png", f"{pair[1]}/a/y.png", content="leak")
    dataset = settled(tmp_path)
    kept = [s for s in dataset.samples if s.path.endswith(("x.png", "y.png"))]
    assert [s.split for s in kept] == ["train"] * stays
    assert "two splits" in dataset.duplicates[0]["reason"]


def test_folders_that_are_no_classification_data_are_refused(tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "absent")
    (tmp_path / "nothing").mkdir()
    assert "has none" in refused(tmp_path / "nothing")
    one = refused(tree(tmp_path / "one", {"only": 5}))
    assert "two classes or more" in one
    assert "'only'" in one
    tree(tmp_path / "empty", {"a": 3})
    write(tmp_path / "empty", "b/notes.txt")
    assert "class 'b' is empty" in refused(tmp_path / "empty")
    single = refused(tree(tmp_path / "single", {"a": 3, "lonely": 1}))
    assert "class 'lonely' has 1 usable image in" in single
    assert "at least 2" in single


def test_splits_with_other_classes_are_refused(tmp_path: Path):
    write(tmp_path, *(f"{s}/{c}/{i}.png" for s in ("train", "val") for c in "ab" for i in "12"))
    write(tmp_path, "train/c/1.png", "train/c/2.png")
    assert "classes of val: a, b; of all splits: a, b, c" in refused(tmp_path)


def test_a_class_that_its_duplicates_empty_is_refused(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 1})
    write(tmp_path, "a/x.png", "b/y.png", content="both")
    assert "class 'b' has 1 usable image" in refused(tmp_path)


def test_bad_images_are_skipped_or_fail_as_asked(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    digest = hashlib.sha256((tmp_path / "a/003.png").read_bytes()).hexdigest()
    dataset = settled(tmp_path, bad={digest: "cut off"})
    assert dataset.skipped == [{"path": "a/003.png", "reason": "cut off"}]
    assert digest not in placed(dataset)
    with pytest.raises(BadInput, match=r"bad image: .*003\.png: cut off\. 1 in all"):
        settled(tmp_path, bad={digest: "cut off"}, on_bad_image="fail")
    assert len(settled(tmp_path, on_bad_image="fail").samples) == 10
    bad = {s.digest: "cut off" for s in data.scan(tmp_path).samples if s.label == 1}
    with pytest.raises(BadInput, match="class 'b' has 0 usable images"):
        settled(tmp_path, bad=bad)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(2, 60), min_size=2, max_size=8),
    val=st.floats(0, 1, exclude_max=True),
    test=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_class_has_an_image_to_learn_from_and_one_to_check_with(
    sizes: list[int], val: float, test: float, seed: int
):
    samples = [data.Sample(f"{c}/{i}", c, f"{c}-{i}") for c, n in enumerate(sizes) for i in range(n)]
    listing = data.Listing(Path("."), [str(c) for c in range(len(sizes))], samples)
    dataset = data.settle(listing, {}, val=val, test=test, seed=seed)
    assert sorted(s.digest for s in dataset.samples) == sorted(s.digest for s in samples)
    for label, size in enumerate(sizes):
        counts = Counter(s.split for s in dataset.samples if s.label == label)
        assert counts["train"] >= 1
        assert counts["val"] >= 1
        assert counts["val"] <= max(1, round(val * size))
        assert counts["test"] <= round(test * size)
