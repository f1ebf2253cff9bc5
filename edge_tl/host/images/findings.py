"""What was found beside the images that take part, as a run records it: files left out and why, duplicates, leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_tl.host.runs.run_part import RunPart, Whole

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class LeftOutFile(RunPart):
    """A file that takes no part, relative to the data's folder, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class OtherFiles(RunPart):
    """How many files of one kind are no images (".txt", "Thumbs.db"), and one of them."""

    kind: str
    n: Whole
    example: str


@dataclass(frozen=True)
class Duplicates(RunPart):
    """Files with the same content, and which of them takes part."""

    paths: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Leak(RunPart):
    """A group with images in several splits of the data's own."""

    group: str
    splits: tuple[SplitName, ...]
    n: Whole
