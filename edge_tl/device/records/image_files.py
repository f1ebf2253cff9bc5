"""Files of a folder of images that are not used: those that might have been, and those that are no images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Record


@dataclass(frozen=True)
class SkippedFile(Record):
    """A file or folder that is not used, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class FileKind(Record):
    """How many files of one kind are no images (".txt", "Thumbs.db"), with one of them as an example."""

    kind: str
    n: Annotated[int, Bounds(0)]
    example: str
