"""The images of a run as `run.json` holds them: a compact row each. Reads no image.

A run may list millions of images: the rows are checked when the dataset is made of them, not when the run is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Fault, shown, written
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.host.images.dataset import SPLITS, Dataset, Sample
from edge_tl.host.images.findings import Duplicates, Leak
from edge_tl.host.images.shards import SUFFIX
from edge_tl.host.runs.run_part import RunPart, Whole

_MOST = 1 << 62  # bytes of a shard
_DAMAGED = "The run's record is damaged; fine-tune again."


@dataclass(frozen=True)
class SplitSizes(RunPart):
    """Images in each split."""

    train: Whole
    val: Whole
    test: Whole


@dataclass(frozen=True)
class SampleRows:
    """`[split, label, digest, path]` of every image, and, where one is in a group or a shard, `[…, group, member]`."""

    rows: list[Any]
    json_schema: ClassVar[dict[str, object]] = {"type": "array", "items": {"type": "array", "minItems": 4}}

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> SampleRows:
        """The rows of samples whose split is drawn."""
        return cls([_row(sample) for sample in samples])

    @classmethod
    def from_json(cls, value: object) -> SampleRows:
        """Checks that it is a list, no more. Raises `BadInput`."""
        if not isinstance(value, list):
            raise BadInput(f"{shown(value)} is no list")
        return cls(value)

    def to_json(self) -> list[Any]:
        """The rows."""
        return self.rows

    def samples(self, classes: int) -> list[Sample]:
        """The samples of a data set of so many classes. Raises `BadInput` that names the first row that is none."""
        return [_sample(row, f"data.samples[{i}]", classes) for i, row in enumerate(self.rows)]


@dataclass(frozen=True, kw_only=True)
class DataRecord(RunPart):
    """The data of a run: `path` is the folder that all other paths are relative to."""

    path: str
    n: SplitSizes
    skipped: tuple[SkippedFile, ...]
    not_images: tuple[FileKind, ...] = written(())
    duplicates: tuple[Duplicates, ...]
    leaks: tuple[Leak, ...] = written(())
    samples: SampleRows

    @classmethod
    def of(cls, dataset: Dataset) -> DataRecord:
        """What a run records of its data."""
        return cls(
            path=str(dataset.root),
            n=SplitSizes(**dataset.counts()),
            skipped=tuple(dataset.skipped),
            not_images=tuple(dataset.not_images),
            duplicates=tuple(dataset.duplicates),
            leaks=tuple(dataset.leaks),
            samples=SampleRows.of(dataset.samples),
        )

    def check(self) -> None:
        """Raises `Fault` for a path that no file system has."""
        if "\0" in self.path:
            raise Fault("path", shown(self.path), "a path")

    def dataset(self, labels: Sequence[str]) -> Dataset:
        """The dataset, whose classes are `labels`. Raises `BadInput` for a row that is none."""
        return Dataset(
            Path(self.path),
            list(labels),
            self.samples.samples(len(labels)),
            skipped=list(self.skipped),
            duplicates=list(self.duplicates),
            leaks=list(self.leaks),
            not_images=list(self.not_images),
        )


def _row(s: Sample) -> list[Any]:
    more = [s.group, list(s.member) if s.member else None] if s.group or s.member else []
    return [s.split, s.label, s.digest, s.path, *more]


def _sample(row: Any, where: str, classes: int) -> Sample:
    match row:
        case [str(split), int(label), str(digest), str(path), *more] if len(more) in (0, 2):
            group, member = more or (None, None)
            grouped = group is None or isinstance(group, str)
            labelled = type(label) is int and label in range(classes)  # True is an int too
            if split in SPLITS and labelled and "\0" not in path and grouped:
                return Sample(path, label, digest, split, group, _place(member, path, where))
    raise BadInput(f"{where} is not [split, label, digest, path]. {_DAMAGED}")


def _place(member: Any, path: str, where: str) -> tuple[int, int] | None:
    match member:
        case None:
            return None
        case [int(offset), int(size)] if 0 <= offset < _MOST and 0 <= size < _MOST and f"{SUFFIX}!" in path:
            return offset, size
    raise BadInput(f"{where} has no place in a shard. {_DAMAGED}")
