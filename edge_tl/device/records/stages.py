"""The record of what every stage made of the golden images at export: `golden/stages.json`. Holds no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.artifact import FilePath, Whole
from edge_tl.device.records.codec import Fault, Pattern, Record

Sha256 = Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]


@dataclass(frozen=True)
class StageRecord(Record):
    """The shape of a stage's array, and the SHA-256 of its bytes: uint8 `(h, w, 3)` RGB, of `normalize` little-endian
    float32 `(3, H, W)`; in C order."""

    shape: tuple[Whole, ...]
    sha256: Sha256

    def check(self) -> None:
        """Raises `Fault` for anything but three lengths."""
        if len(self.shape) != 3:
            raise Fault("shape", f"a list of {len(self.shape)}", "three lengths")


@dataclass(frozen=True)
class GoldenStages(Record):
    """One golden image: as it is stored in the file (`decode`), upright, resized, cropped, normalized; and by artifact,
    and for "pytorch", the SHA-256 of the logits (float32) and the place of the label. `kind` is the kind of file that
    it stands for, `made` whether edge-tl made the file."""

    image: FilePath
    decode: StageRecord
    orient: StageRecord
    resize: StageRecord
    crop: StageRecord
    normalize: StageRecord
    logits: dict[str, Sha256]
    label: dict[str, Whole]
    kind: str | None = None
    made: bool = False

    def stage(self, name: str) -> StageRecord:
        """One of the stages that have pixels."""
        found: StageRecord = getattr(self, name)
        return found


@dataclass(frozen=True)
class StagesRecord(Record):
    """Every golden image, in the order of the bundle's."""

    document = "golden/stages.json"

    images: tuple[GoldenStages, ...]
