"""The result of one gate: what was measured, against which limit, and whether it passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_tl.device.records.codec import Record

GATES = ("pixels", "device", "loss", "speed")


@dataclass(frozen=True)
class GateResult(Record):
    """`measured` and `limit` are in `unit`; `artifact` is None for the pixels gate, which belongs to all of them.
    `measured` is None where nothing could be measured, `passed` where nothing was checked. A gate that is not `decided`
    had too few images or too busy a machine to tell, and does not fail."""

    gate: Literal["pixels", "device", "loss", "speed"]
    artifact: str | None
    measured: float | None
    limit: float
    unit: str
    passed: bool | None
    reason: str
    decided: bool = field(default=True, metadata={"key": "judged", "written": True})
