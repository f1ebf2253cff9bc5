"""Duplicate images and groups in several splits, as a run records them. Reads no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_tl.host.runs.run_part import RunPart, Whole

SplitName = Literal["train", "val", "test"]


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
