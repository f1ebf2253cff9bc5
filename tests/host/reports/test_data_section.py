"""The images of a run: counts against the list of images, what was put aside, nothing where it is not known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from host.reports.samples import run, sample

from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.findings import Duplicates, SplitName
from edge_tl.host.reports.data_section import (
    class_counts_table,
    class_sentence,
    data_facts,
    data_plot,
    put_aside,
)
from edge_tl.host.runs.resize_records import ImageSizes
from edge_tl.host.runs.run_summary import EXAMPLES, DataSummary, RunSummary, run_summary

LABELS = ["daisy", "<b>x</b>", "a label that is longer than any place"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def summary(counts: list[tuple[int, int, int]]) -> DataSummary:
    """Of a run with so many images of each class."""
    samples = [
        Sample(f"{label}/{split}/{i}.jpg", label, f"{label}{split}{i}", split)
        for label, row in enumerate(counts)
        for split, n in zip(SPLITS, row, strict=True)
        for i in range(n)
    ]
    dataset = Dataset(
        Path("x"),
        LABELS[: len(counts)],
        samples,
        skipped=[SkippedFile(f"{i}.jpg", "truncated") for i in range(25)],
        duplicates=[Duplicates(("a.jpg", "b.jpg"), "the same image in two classes: left out")],
        not_images=[FileKind(".txt", 3, "a.txt")],
    )
    sizes = ImageSizes(n=20, width=(30, 320, 640), height=(40, 240, 480), enlarged=2)
    record = replace(run(sample("run")), data=DataRecord.of(dataset), image_sizes=sizes)
    found = run_summary(record, dataset)
    again = RunSummary.from_json(found.to_json())
    assert again == found
    return again.data


def test_the_counts_are_those_of_the_list() -> None:
    data = summary([(10, 2, 0), (40, 8, 0), (1, 1, 0)])
    table = class_counts_table(data, LABELS)
    assert [column.key for column in table.columns] == [
        "label",
        "train",
        "val",
        "all",
        "share",
    ]  # no test split
    assert [row["all"] for row in table.rows] == ["12", "48", "2"]
    facts = dict(data_facts(data))
    assert facts["images"] == "train 51, val 11"
    assert facts["largest class"] == "48 images, 24.0 times the smallest"
    assert facts["width, pixels"] == "30 to 640, half up to 320"
    assert facts["smaller than the model's input"] == "2 of 20 images read"
    assert facts["files skipped"] == "25"
    assert facts["files that are no images"] == "3 .txt"
    assert len(put_aside(data).rows) == EXAMPLES + 1
    assert "77 % of all images" in (class_sentence(data) or "")


def test_the_drawing_says_every_count_and_shows_labels_as_text() -> None:
    drawn = data_plot(summary([(10, 2, 1), (40, 8, 3), (1, 1, 0)]), LABELS)
    assert drawn is not None
    assert "<b>" not in drawn
    assert re.findall(r">(13|51|2)</text>", drawn)[-3:] == ["13", "51", "2"]
    assert "a label …y place" in drawn


def test_labels_of_any_script_are_drawn_as_they_are() -> None:
    """Matplotlib has no glyph for them, and warns of it: as an error, that left a bundle without its page."""
    labels = ["\N{BILLIARDS}", "\u96cf\u83ca", "\u0627\u0644\u0648\u0631\u062f"]
    drawn = data_plot(summary([(3, 1, 0), (2, 1, 0), (1, 1, 0)]), labels)
    assert drawn is not None
    assert all(f">{label}</text>" in drawn for label in labels)


def test_even_classes_need_no_sentence_and_one_class_no_drawing() -> None:
    assert class_sentence(summary([(10, 2, 0), (40, 8, 0)])) is None
    assert data_plot(summary([(10, 2, 0)]), LABELS[:1]) is None


def test_classes_that_were_not_counted_are_absent() -> None:
    data = replace(summary([(10, 2, 0), (40, 8, 0)]), classes=(), sizes=None)
    assert data_plot(data, LABELS[:2]) is None
    assert not class_counts_table(data, LABELS[:2]).rows
    assert "largest class" not in dict(data_facts(data))
