"""Folders to labelled splits: what counts as data, what is refused, and a split that only content decides."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from edge_tl.device.errors import BadInput
from edge_tl.device.records.image_files import SkippedFile
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.findings import Leak
from edge_tl.host.images.listing import list_images
from edge_tl.host.recipe.schema import Data

SHARES: dict[str, Any] = {"val": 0.25, "test": 0.25}


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


def settled(root: Path, seed: int = 0, bad: dict[str, str] | None = None, **options: Any) -> datasets.Dataset:
    return datasets.build_dataset(list_images(root), bad or {}, Data(**SHARES, **options), seed=seed)


def placed(dataset: datasets.Dataset) -> dict[str, str | None]:
    return {sample.digest: sample.split for sample in dataset.samples}


def read_back(dataset: datasets.Dataset) -> datasets.Dataset:
    """The dataset of what `run.json` would hold."""
    record = json.loads(json.dumps(DataRecord.of(dataset).to_json()))
    return DataRecord.from_json(record).dataset(dataset.labels)


def refused(root: Path) -> str:
    with pytest.raises(BadInput) as caught:
        settled(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_keep_their_unicode(tmp_path: Path):
    labels = ["été", unicodedata.normalize("NFD", "ñandú"), "🐱 cat", "two  spaces", "日本", "a.b", "'q'"]
    assert unicodedata.normalize("NFC", labels[1]) != labels[1]
    dataset = settled(tree(tmp_path, dict.fromkeys(labels, 4)))
    assert dataset.labels == sorted(labels)
    again = read_back(dataset)
    assert again == dataset
    assert all(Path(str(source)).is_file() for source in again.sources(again.samples))


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
    assert [entry.to_json() for entry in dataset.duplicates] == [
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
    assert [(list(d.paths), "two classes" in d.reason) for d in dataset.duplicates] == [
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
    assert "two splits" in dataset.duplicates[0].reason


def test_a_class_that_its_duplicates_empty_is_refused(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 1})
    write(tmp_path, "a/x.png", "b/y.png", content="both")
    assert "class 'b' has 1 usable image" in refused(tmp_path)


def test_bad_images_are_skipped_or_fail_as_asked(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    digest = hashlib.sha256((tmp_path / "a/003.png").read_bytes()).hexdigest()
    dataset = settled(tmp_path, bad={digest: "cut off"})
    assert dataset.skipped == [SkippedFile("a/003.png", "cut off")]
    assert digest not in placed(dataset)
    with pytest.raises(BadInput, match=r"bad image: .*003\.png: cut off\. 1 in all"):
        settled(tmp_path, bad={digest: "cut off"}, on_bad_image="fail")
    assert len(settled(tmp_path, on_bad_image="fail").samples) == 10
    bad = {s.digest: "cut off" for s in list_images(tmp_path).samples if s.label == 1}
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
    samples = [datasets.Sample(f"{c}/{i}", c, f"{c}-{i}") for c, n in enumerate(sizes) for i in range(n)]
    listing = datasets.Listing(Path("."), [str(c) for c in range(len(sizes))], samples)
    dataset = datasets.build_dataset(listing, {}, Data(val=val, test=test), seed=seed)
    assert sorted(s.digest for s in dataset.samples) == sorted(s.digest for s in samples)
    for label, size in enumerate(sizes):
        counts = Counter(s.split for s in dataset.samples if s.label == label)
        assert counts["train"] >= 1
        assert counts["val"] >= 1
        assert counts["val"] <= max(1, round(val * size))
        assert counts["test"] <= round(test * size)


def listing_of(rows: list[tuple[int, str | None]], split: str | None = None) -> datasets.Listing:
    """One image a row, of that class and group."""
    samples = [
        datasets.Sample(f"{i}.png", label, hashlib.sha256(str(i).encode()).hexdigest(), split, group)
        for i, (label, group) in enumerate(rows)
    ]
    return datasets.Listing(Path("."), [str(c) for c in range(1 + max(label for label, _ in rows))], samples)


def splits_of_groups(samples: list[datasets.Sample]) -> dict[str, set[str | None]]:
    found = defaultdict(set)
    for sample in samples:
        if sample.group:
            found[sample.group].add(sample.split)
    return found


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=12, max_size=120),
    val=st.floats(0, 0.5),
    test=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_a_group_is_never_split(rows: list[tuple[int, int]], val: float, test: float, seed: int):
    """Groups may hold several classes; 0 stands for no group."""
    listing = listing_of([(label, f"g{group}" if group else None) for label, group in rows])
    try:
        dataset = datasets.build_dataset(listing, {}, Data(val=val, test=test), seed=seed)
    except BadInput:  # test_draw shows that only what cannot be is refused
        return
    assert sorted(s.digest for s in dataset.samples) == sorted(s.digest for s in listing.samples)
    assert all(len(splits) == 1 for splits in splits_of_groups(dataset.samples).values())
    assert dataset.leaks == []
    for split in ("train", "val"):
        assert {s.label for s in dataset.split(split)} == set(range(len(listing.labels)))


@settings(deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=15), min_size=2, max_size=4),
    share=st.floats(0, 0.6),
    seed=st.integers(0, 99),
)
def test_fractions_are_met_within_the_size_of_a_group(sizes: list[list[int]], share: float, seed: int):
    rows: list[tuple[int, str | None]] = [
        (label, f"{label}-{i}")
        for label, groups in enumerate(sizes)
        for i, n in enumerate(groups)
        for _ in range(n)
    ]
    dataset = datasets.build_dataset(listing_of(rows), {}, Data(val=share, test=0), seed=seed)
    for label, groups in enumerate(sizes):
        counts = Counter(s.split for s in dataset.samples if s.label == label)
        assert counts["train"] >= 1
        assert counts["val"] >= 1
        assert abs(counts["val"] - share * sum(groups)) <= max(groups) + 0.5


def test_groups_are_drawn_by_name_and_seed_not_by_file(tmp_path: Path):
    rows: list[tuple[int, str | None]] = [(i % 2, f"g{i // 4}") for i in range(80)]
    first = datasets.build_dataset(listing_of(rows), {}, Data(**SHARES), seed=0)
    turned = listing_of(rows)
    turned = replace(turned, samples=[replace(s, path=f"renamed/{s.digest}") for s in turned.samples[::-1]])
    assert placed(datasets.build_dataset(turned, {}, Data(**SHARES), seed=0)) == placed(first)
    assert placed(datasets.build_dataset(turned, {}, Data(**SHARES), seed=1)) != placed(first)
    assert first.counts() == {"train": 40, "val": 20, "test": 20}


def test_a_class_in_one_group_is_refused():
    rows: list[tuple[int, str | None]] = [*((0, "scene 1") for _ in range(5)), (1, "a"), (1, "b"), (1, "c")]
    with pytest.raises(
        BadInput, match=r"every image of class '0' is in one group, 'scene 1'.*data\.group_by"
    ):
        datasets.build_dataset(listing_of(rows), {}, Data(**SHARES), seed=0)
    assert (
        datasets.build_dataset(listing_of([*rows, (0, None)]), {}, Data(**SHARES), seed=0).counts()["val"]
        >= 2
    )


def test_groups_that_share_an_image_stay_in_train_and_a_still_scene_does_not():
    rows: list[tuple[int, str | None]] = [(i % 2, f"{i % 2}-{i // 8}") for i in range(64)]
    listing = listing_of(rows)
    samples = listing.samples
    twice = {"0-0": samples[0], "0-3": replace(samples[0], path="copy.png", group="0-3")}
    listing = replace(listing, samples=[*samples, twice["0-3"]])
    still = [replace(s, path=f"still-{s.path}") for s in samples if s.group == "1-5"]
    listing = replace(listing, samples=[*listing.samples, *still])
    seen: defaultdict[str, set[str | None]] = defaultdict(set)
    for seed in range(20):
        dataset = datasets.build_dataset(listing, {}, Data(**SHARES), seed=seed)
        for group, splits in splits_of_groups(dataset.samples).items():
            seen[group] |= splits
        assert len(dataset.samples) == 64
        assert len(dataset.duplicates) == 5
    assert seen["0-0"] == seen["0-3"] == {"train"}
    assert seen["1-5"] == seen["0-1"] == {"train", "val", "test"}


def test_groups_torn_by_the_datas_own_splits_are_reported_not_moved():
    listing = listing_of([(i % 2, f"g{i // 4}") for i in range(24)])
    samples = [
        replace(s, split=("train", "train", "val", "test")[i * 4 // 24])
        for i, s in enumerate(listing.samples)
    ]
    listing = replace(listing, samples=samples)
    dataset = datasets.build_dataset(listing, {}, Data(**SHARES), seed=0)
    assert placed(dataset) == {s.digest: s.split for s in samples}
    assert dataset.leaks == [Leak("g4", ("val", "test"), 4)]
    again = read_back(dataset)
    assert again == dataset


def test_images_without_a_split_beside_others_train(tmp_path: Path):
    listing = listing_of([(i % 2, None) for i in range(40)])
    for given_splits, want in (
        (("val",), {"train": 30, "val": 10, "test": 0}),
        (("test",), {"train": 22, "val": 8, "test": 10}),
        (("train",), {"train": 20, "val": 10, "test": 10}),
        (("val", "test"), {"train": 20, "val": 10, "test": 10}),
    ):
        samples = [
            replace(s, split=given_splits[i // 10]) if i // 10 < len(given_splits) else s
            for i, s in enumerate(listing.samples)
        ]
        dataset = datasets.build_dataset(replace(listing, samples=samples), {}, Data(**SHARES), seed=0)
        assert dataset.counts() == want, given_splits


def test_a_limit_keeps_val_and_test_whole_and_grows_by_adding():
    listing = listing_of([(min(i % 4, 2), None) for i in range(200)])
    whole = datasets.build_dataset(listing, {}, Data(**SHARES), seed=0)
    before: set[str] = set()
    for limit in (1, 5, 20, 1000):
        small = datasets.build_dataset(listing, {}, Data(limit=limit, **SHARES), seed=0)
        assert (small.split("val"), small.split("test")) == (whole.split("val"), whole.split("test"))
        counts = Counter(s.label for s in small.split("train"))
        assert counts == {
            label: min(limit, n) for label, n in Counter(s.label for s in whole.split("train")).items()
        }
        kept = {s.digest for s in small.split("train")}
        assert before <= kept
        before = kept
    assert small == whole
    other = {
        s.digest for s in datasets.build_dataset(listing, {}, Data(limit=5, **SHARES), seed=1).split("train")
    }
    assert other != {
        s.digest for s in datasets.build_dataset(listing, {}, Data(limit=5, **SHARES), seed=0).split("train")
    }


def test_records_from_before_groups_are_read():
    record = {
        "path": "photos", "n": {"train": 1, "val": 1, "test": 0}, "skipped": [], "duplicates": [],
        "samples": [["train", 0, "ab", "a/1.png"], ["val", 1, "cd", "b/2.png"]],
    }  # fmt: skip
    dataset = DataRecord.from_json(record).dataset(["a", "b"])
    assert dataset.samples == [
        datasets.Sample("a/1.png", 0, "ab", "train"),
        datasets.Sample("b/2.png", 1, "cd", "val"),
    ]
    assert dataset.sources(dataset.samples) == [Path("photos/a/1.png"), Path("photos/b/2.png")]
    assert DataRecord.of(dataset).to_json()["samples"] == record["samples"]


@pytest.mark.parametrize(
    "edit",
    [
        *({"path": value} for value in list[Any]((None, 5, "a\0b", []))),
        *(
            {key: value}
            for key in ("skipped", "duplicates", "leaks", "not_images")
            for value in list[Any]((None, 5, "x", {}, [5]))
        ),
        *({"samples": value} for value in list[Any]((None, 5, "x", {}, [5], ["abcd"], [[]], [{}]))),
        *(
            {"samples": [["train", 0, "ab", "a/1.png"], entry]}
            for entry in (
                ["train", 2, "ab", "x"],
                ["train", -1, "ab", "x"],
                ["train", True, "ab", "x"],
                ["train", "0", "ab", "x"],
                ["other", 0, "ab", "x"],
                [None, 0, "ab", "x"],
                ["train", 0, 5, "x"],
                ["train", 0, "ab", ["x"]],
                ["train", 0, "ab", "x\0"],
                ["train", 0, "ab", "x", None],
                ["train", 0, "ab", "x", 5, None],
                ["train", 0, "ab", "a.tar!x", None, 5],
                ["train", 0, "ab", "a.tar!x", None, [-1, 5]],
                ["train", 0, "ab", "a.tar!x", None, [0, 1 << 70]],
                ["train", 0, "ab", "x", None, [0, 5]],
            )
        ),
    ],
    ids=ascii,
)
def test_a_record_that_is_none_of_ours_is_refused(edit: dict[str, object]):
    n = {"train": 0, "val": 0, "test": 0}
    record = {"path": "photos", "n": n, "skipped": [], "duplicates": [], "samples": []} | edit
    with pytest.raises(BadInput, match="data"):
        DataRecord.from_json(record, "data").dataset(["a", "b"])


def test_folds_are_scikit_learns_and_leave_test_alone():
    dataset = datasets.build_dataset(
        listing_of([(min(i % 5, 2), None) for i in range(150)]), {}, Data(**SHARES), seed=3
    )
    turned = replace(dataset, samples=[replace(s, path=f"x{s.path}") for s in dataset.samples[::-1]])
    pool = sorted((s for s in dataset.samples if s.split != "test"), key=lambda s: s.digest)
    labels = [s.label for s in pool]
    want = StratifiedKFold(4, shuffle=True, random_state=7).split(labels, labels)
    checked: list[str] = []
    for (train, val), (same, also), (_, at) in zip(
        datasets.folds(dataset, 4, 7), datasets.folds(turned, 4, 7), want, strict=True
    ):
        assert [s.digest for s in val] == [pool[i].digest for i in at] == [s.digest for s in also]
        assert [s.digest for s in train] == [s.digest for s in same]
        assert {s.split for s in train} == {"train"}
        assert {s.split for s in val} == {"val"}
        assert {s.digest for s in train} | {s.digest for s in val} == {s.digest for s in pool}
        assert len(train) + len(val) == len(pool)
        checked += [s.digest for s in val]
    assert sorted(checked) == [s.digest for s in pool]


def test_folds_keep_groups_whole_and_classes_in_proportion():
    rows: list[tuple[int, str | None]] = [(i % 3, f"{i % 3}-{i // 9}") for i in range(270)]
    rows += [(i % 3, None) for i in range(30)]
    dataset = datasets.build_dataset(listing_of(rows), {}, Data(val=0.2, test=0.1), seed=0)
    shares = Counter(s.label for s in dataset.samples if s.split != "test")
    seen: list[str] = []
    for train, val in datasets.folds(dataset, 5, 0):
        assert not {s.unit for s in train} & {s.unit for s in val}
        seen += [s.digest for s in val]
        for label, n in Counter(s.label for s in val).items():
            assert abs(n - shares[label] / 5) <= 3
    assert len(seen) == len(set(seen)) == sum(shares.values())


def test_folds_need_enough_images_or_groups_of_every_class():
    dataset = datasets.build_dataset(
        listing_of([(int(i < 5), None) for i in range(40)]), {}, Data(val=0.2, test=0.0), seed=0
    )
    with pytest.raises(BadInput, match="class '1' has 5 images outside test; 6 folds need 6"):
        list(datasets.folds(dataset, 6, 0))
    assert len(list(datasets.folds(dataset, 5, 0))) == 5
    rows: list[tuple[int, str | None]] = [(i % 2, f"{i % 2}{i // 20}") for i in range(60)]
    grouped = datasets.build_dataset(listing_of(rows), {}, Data(val=0.2, test=0.0), seed=0)
    with pytest.raises(BadInput, match="class '0' has 3 groups outside test; 4 folds need 4"):
        list(datasets.folds(grouped, 4, 0))
