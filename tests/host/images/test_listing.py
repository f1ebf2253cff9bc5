"""Folders and lists to labelled images: what counts as data, and what is refused, by file, line and value."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import Listening
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.listing import list_images
from edge_tl.host.recipe.schema import Data


def write(root: Path, *names: str) -> Path:
    """Files that are images by name, each with content of its own."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return root


def tree(root: Path, classes: dict[str, int]) -> Path:
    for label, count in classes.items():
        write(root, *(f"{label}/{i:03d}.png" for i in range(count)))
    return root


def listed(root: Path, text: str, name: str = "list.csv", **encoding: str) -> Path:
    write(root, *(f"{c}{i}.png" for c in "ab" for i in range(3)))
    (root / name).write_text(text, **({"encoding": "utf-8"} | encoding))
    return root / name


def refused(path: Path | str, *, group_by: str | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        list_images(path, group_by=group_by)
    assert "\n" not in str(caught.value)
    return str(caught.value)


BOTH = "a0.png,a\na1.png,a\nb0.png,b\nb1.png,b\n"


def test_a_folder_of_class_folders(tmp_path: Path):
    steps: list[tuple[str, int, int]] = []
    listing = list_images(
        tree(tmp_path, {"dog": 3, "cat": 2}), listener=Listening(progress=lambda *step: steps.append(step))
    )
    assert listing.labels == ["cat", "dog"]
    assert [s.label for s in listing.samples] == [0, 0, 1, 1, 1]
    assert {s.split for s in listing.samples} == {None}
    for sample, source in zip(listing.samples, listing.sources(), strict=True):
        assert source == tmp_path / sample.path
        assert sample.digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert steps == [("hashing", i, 5) for i in range(1, 6)]
    assert list_images(str(tmp_path)) == listing


def test_only_visible_image_files_count(tmp_path: Path):
    tree(tmp_path, {"a": 2, "b": 2})
    write(tmp_path, ".git/x.png", "__MACOSX/a/y.png", "a/.hidden.png", "a/.thumbs/t.png", "a/notes.txt")
    write(tmp_path, "readme.png", "a/Thumbs.db", "a/deeper/still/in_a.JPG")
    (tmp_path / "a" / "folder.png").mkdir()
    found = [s.path for s in list_images(tmp_path).samples]
    assert found == ["a/000.png", "a/001.png", "a/deeper/still/in_a.JPG", "b/000.png", "b/001.png"]


def test_hashes_stay_with_their_images_over_many_chunks(tmp_path: Path):
    listing = list_images(tree(tmp_path, {"a": 150, "b": 101}))
    for sample in listing.samples:
        assert sample.digest == hashlib.sha256(f"content of {sample.path}".encode()).hexdigest()


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
    assert "not a data set" in refused(tmp_path / "empty" / "b" / "notes.txt")


def test_splits_with_other_classes_are_refused(tmp_path: Path):
    write(tmp_path, *(f"{s}/{c}/{i}.png" for s in ("train", "val") for c in "ab" for i in "12"))
    write(tmp_path, "train/c/1.png", "train/c/2.png")
    assert "classes of val: a, b; of all splits: a, b, c" in refused(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_not_utf8_are_refused(tmp_path: Path):
    tree(tmp_path, {"a": 2, "b": 2})
    try:
        (tmp_path / os.fsdecode(b"a/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert "not UTF-8" in refused(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("path", ["path", "File", "FILENAME", "image", " filepath "])
@pytest.mark.parametrize("label", ["label", "Class", "category", "target"])
def test_a_list_with_any_of_the_usual_headers(tmp_path: Path, encoding: str, path: str, label: str):
    text = f"id,{label},{path}\n1, a ,a0.png\n2,a,a1.png\n\n3,b,b0.png\n4,b,b1.png\n"
    listing = list_images(listed(tmp_path, text, encoding=encoding))
    assert listing.root == tmp_path
    assert listing.labels == ["a", "b"]
    assert [(s.path, s.label) for s in listing.samples] == [
        ("a0.png", 0), ("a1.png", 0), ("b0.png", 1), ("b1.png", 1),
    ]  # fmt: skip
    for sample, source in zip(listing.samples, listing.sources(), strict=True):
        assert sample.digest == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_tsv_with_splits_groups_and_an_absolute_path(tmp_path: Path):
    elsewhere = write(tmp_path / "other", "x.png") / "x.png"
    text = (
        "path\tlabel\tsplit\tgroup\na0.png\ta, one\ttrain\tg1\na1.png\ta, one\tVALID\tg 2\n"
        f"b0.png\tb\tvalidation\t\nb1.png\tb\ttest\tg1\n{elsewhere}\tb\t\tg1\n"
    )
    listing = list_images(listed(tmp_path, text, "list.TSV"))
    assert listing.labels == ["a, one", "b"]
    assert [(s.split, s.group) for s in listing.samples] == [
        ("train", "g1"), ("val", "g 2"), ("val", None), ("test", "g1"), (None, "g1"),
    ]  # fmt: skip
    assert listing.samples[-1].digest == hashlib.sha256(elsewhere.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("word", "split"),
    [("Training", "train"), ("DEV", "val"), ("testing", "test"), ("train_set", "train"), ("Val", "val")],
)
def test_a_list_may_call_its_splits_by_any_usual_name(tmp_path: Path, word: str, split: str):
    text = f"path,label,split\na0.png,a,train\na1.png,a,{word}\nb0.png,b,train\nb1.png,b,\n"
    assert list_images(listed(tmp_path, text)).samples[1].split == split


def test_integer_labels_sort_by_value_and_stay_text(tmp_path: Path):
    rows = [f"{c}{i}.png,{label}" for label, c in (("10", "a"), ("9", "b")) for i in range(2)]
    assert list_images(listed(tmp_path, "path,label\n" + "\n".join(rows))).labels == ["9", "10"]
    rows[0] = "a0.png,x"
    rows.append("a2.png,x")
    rows.append("a0.png,10")
    assert list_images(listed(tmp_path, "path,label\n" + "\n".join(rows))).labels == ["10", "9", "x"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path,name\na0.png,a\n", ["line 1", "no column for the label", "'path, name'"]),
        ("name,label\na0.png,a\n", ["line 1", "no column for the path"]),
        ("", ["line 1", "no column for the path"]),
        ("path;label\na0.png;a\n", ["no column for the path", "'path;label'"]),
        ("path,path,label\na0.png,a0.png,a\n", ["line 1", "two columns 'path'"]),
        (f"path,label\n{BOTH}gone.png,a\n", ["line 6", "no such file: 'gone.png'"]),
        (f"path,label\n{BOTH},a\n", ["line 6", "no such file: ''"]),
        (f"path,label\n{BOTH}.,a\n", ["line 6", "no such file: '.'"]),
        (f"path,label\n{BOTH}a2.png, \n", ["line 6", "the label of 'a2.png' is empty"]),
        (f"path,label\n{BOTH}a2.png\n", ["line 6", "the label of 'a2.png' is empty"]),
        (f"path,label\n{BOTH}a2.png,a,b\n", ["line 6", "3 cells, the header has 2", "'b'"]),
        ("path,label,split\na0.png,a,holdout\n", ["line 2", "unknown split 'holdout'"]),
        (f'path,label\n{BOTH}"a2.png,a\n', ["line 6", "unexpected end of data"]),
        (f"path,label\n{BOTH}a\0.png,a\n", ["line 6"]),
        ("path,label\na0.png,a\na1.png,a\n", ["only 'a'", "Add rows"]),
        ("path,label\n", ["has none"]),
        (f"path,label\n{BOTH}a2.png,c\n", ["class 'c' has 1 usable image"]),
        (
            "path,label,split\na0.png,a,val\na1.png,a,test\nb0.png,b,val\nb1.png,b,val\n",
            ["only test and val"],
        ),
    ],
)
def test_a_faulty_list_is_refused_by_line_and_value(tmp_path: Path, text: str, parts: list[str]):
    message = refused(listed(tmp_path, text))
    assert "list.csv" in message
    for part in parts:
        assert part in message


def test_a_list_that_is_absent_or_not_utf8_is_refused(tmp_path: Path):
    assert "no such file" in refused(tmp_path / "absent.csv")
    path = listed(tmp_path, f"path,label\n{BOTH}a2.png,été\n", encoding="latin-1")
    assert "not UTF-8" in refused(path)
    path = listed(tmp_path, f"path,label\n{BOTH}", encoding="utf-16")
    assert "not UTF-8" in refused(path)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"), min_size=1)
# Controls and bidirectional marks are refused in labels, so is a label's second Unicode form.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), min_size=1).filter(
    lambda word: word == word.strip()
)


@settings(deadline=None, max_examples=60)
@given(
    names=st.lists(NAMES, min_size=4, max_size=12, unique=True),
    words=st.lists(WORDS, min_size=2, max_size=2, unique_by=lambda word: unicodedata.normalize("NFC", word)),
    group=WORDS,
    tabs=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_is_read_back(
    names: list[str], words: list[str], group: str, tabs: bool, quoting: Literal[0, 1]
):
    """Commas, quotes, semicolons, tabs and any alphabet, in names and labels."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = []
        for i, name in enumerate(names):  # the number keeps names apart where case does not
            path = root / f"{i}{name[:20]}.png"
            path.write_text(name)
            files.append(path.name)
        labels = [words[i % 2] for i in range(len(files))]
        with (root / ("l.tsv" if tabs else "l.csv")).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, "excel-tab" if tabs else "excel", quoting=quoting)
            writer.writerow(["group", "path", "class"])
            writer.writerows([group, name, label] for name, label in zip(files, labels, strict=True))
        listing = list_images(Path(file.name))
        assert [s.path for s in listing.samples] == files
        assert [listing.labels[s.label] for s in listing.samples] == labels
        assert {s.group for s in listing.samples} == {group}


def test_group_by_takes_the_first_group_or_the_whole_match(tmp_path: Path):
    write(tmp_path, "a/s1_0.png", "a/s1_1.png", "a/s2_0.png", "b/s2_1.png", "b/lonely.png")
    whole = {s.path: s.group for s in list_images(tmp_path, group_by=r"s\d").samples}
    assert whole == {
        "a/s1_0.png": "s1", "a/s1_1.png": "s1", "a/s2_0.png": "s2", "b/s2_1.png": "s2", "b/lonely.png": None,
    }  # fmt: skip
    first = {s.path: s.group for s in list_images(tmp_path, group_by=r"/s(\d)_|(lonely)").samples}
    assert first == {path: group and group[1:] for path, group in whole.items()}
    assert {s.group for s in list_images(tmp_path, group_by=r"^[ab]").samples} == {"a", "b"}
    assert "matches no path" in refused(tmp_path, group_by=r"patient\d+")
    assert "matches no path" in refused(tmp_path, group_by="")
    assert "no regular expression" in refused(tmp_path, group_by="(")


def test_group_by_goes_before_the_group_column(tmp_path: Path):
    path = listed(tmp_path, "path,label,group\n" + BOTH.replace("\n", ",same\n"))
    assert {s.group for s in list_images(path).samples} == {"same"}
    assert [s.group for s in list_images(path, group_by=r"\d").samples] == ["0", "1", "0", "1"]


def test_a_list_of_real_images_becomes_a_dataset(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = ["path,label,group"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{i}.jpg")
        rows.append(f"{i}.jpg,{'xy'[i % 2]},g{i // 3}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    dataset = datasets.build_dataset(
        list_images(tmp_path / "list.csv"), {}, Data(val=0.25, test=0.25), seed=0
    )
    again = DataRecord.from_json(DataRecord.of(dataset).to_json()).dataset(dataset.labels)
    assert again == dataset
    for source in again.sources(again.samples):
        assert isinstance(source, Path)
        with Image.open(source) as image:
            assert image.size == (8, 8)


def test_a_list_is_bounded_before_it_is_read(tmp_path: Path):
    path = listed(tmp_path, f"path,label\n{BOTH}")
    with path.open("r+b") as file:
        file.truncate(5 << 30)  # sparse
    assert "5,368,709,120 bytes" in refused(path)
    path = listed(tmp_path, f"path,label\n{BOTH}{'x' * 100_000},a\n")
    assert "line 6: longer than 65,536 characters" in refused(path)
    assert "'x" in refused(listed(tmp_path, f"path,label\n{BOTH}a2.png,{'x' * 600}\na2.png,{'x' * 600}\n"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_pipe_in_a_list_or_as_one_is_never_opened(tmp_path: Path):
    path = listed(tmp_path, f"path,label\n{BOTH}pipe.png,a\n")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "no such file: 'pipe.png'" in refused(path)
    assert "no such file" in refused(tmp_path / "pipe.csv")
