"""The result of `verify`: the gates on one machine, and what ran there."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.errors import BadInput
from edge_tl.device.records.accuracy import FolderAccuracy
from edge_tl.device.records.codec import Record
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import RanRecord, SkippedRecord


@dataclass(frozen=True)
class FolderResult(Record):
    """The accuracy of every artifact on a labelled `folder`. `reference` is the FP32 artifact that stands in for
    PyTorch, None where none ran; `skipped` are the files that were not used, `remarks` what people should know."""

    folder: str
    reference: str | None
    accuracy: tuple[FolderAccuracy, ...]
    skipped: tuple[SkippedFile, ...]
    not_images: tuple[FileKind, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class VerifyResult(Record):
    """Whether this machine gives the exported model's answers. `verified` artifacts `of` the bundle's ran;
    `recommended_verified` is None where none is recommended. `ran` is by artifact, `skipped` names those that cannot
    run here and the reason, `warnings` are for people."""

    document = "result of edge-tl verify"
    advice = "run edge-tl verify again"
    error = BadInput

    passed: bool
    gates: tuple[GateResult, ...]
    verified: int
    of: int
    recommended_verified: bool | None
    ran: dict[str, RanRecord]
    skipped: tuple[SkippedRecord, ...]
    warnings: tuple[str, ...]
    machine: MachineRecord
    data: FolderResult | None = None
