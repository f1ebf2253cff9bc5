"""What a bundle's report keeps of its run: the epochs, and the data as counts. Reads no image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Count
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.host.images.data_record import SplitSizes
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.images.findings import Duplicates
from edge_tl.host.runs.record import EpochRecord, RunRecord
from edge_tl.host.runs.resize_records import ImageSizes
from edge_tl.host.runs.run_part import RunPart, Whole

MOST_CLASSES = 2000  # with counts of their own
MOST_EPOCHS = 400
EXAMPLES = 10  # of files of each kind


@dataclass(frozen=True, kw_only=True)
class DataSummary(RunPart):
    """Images in each split (`n`) and, in the order of the labels, of each class (`classes`: train, val, test), which
    are left out of data with very many classes. How many files were skipped, are in several places (`duplicates`
    counts groups of equal files) or in groups of several splits (`leaks`), with some of them; files that are no images;
    sizes, where they were read."""

    n: SplitSizes
    classes: Annotated[tuple[tuple[Whole, Whole, Whole], ...], Count(0, MOST_CLASSES)] = ()
    skipped: Whole = 0
    skipped_files: tuple[SkippedFile, ...] = ()
    duplicates: Whole = 0
    duplicate_files: tuple[Duplicates, ...] = ()
    leaks: Whole = 0
    not_images: tuple[FileKind, ...] = ()
    sizes: ImageSizes | None = None


@dataclass(frozen=True, kw_only=True)
class RunSummary(RunPart):
    """The epochs of a run, none where its head alone was solved or there were very many, and its data."""

    document = "report.json: training"

    data: DataSummary
    history: tuple[EpochRecord, ...] = ()


def run_summary(record: RunRecord, dataset: Dataset) -> RunSummary:
    """Of a run and its images."""
    return RunSummary(
        data=data_summary(record, dataset),
        history=record.history if len(record.history) <= MOST_EPOCHS else (),
    )


def data_summary(record: RunRecord, dataset: Dataset) -> DataSummary:
    """Of the images of a run."""
    data = record.data
    return DataSummary(
        n=data.n,
        classes=_by_class(dataset) if len(dataset.labels) <= MOST_CLASSES else (),
        skipped=len(data.skipped),
        skipped_files=data.skipped[:EXAMPLES],
        duplicates=len(data.duplicates),
        duplicate_files=data.duplicates[:EXAMPLES],
        leaks=len(data.leaks),
        not_images=data.not_images[:EXAMPLES],
        sizes=record.image_sizes,
    )


def _by_class(dataset: Dataset) -> tuple[tuple[int, int, int], ...]:
    counts = Counter((sample.label, sample.split) for sample in dataset.samples)
    return tuple(
        (counts[label, "train"], counts[label, "val"], counts[label, "test"])
        for label in range(len(dataset.labels))
    )
