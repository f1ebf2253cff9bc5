"""The result of `gate`: whether one artifact keeps its gates and the budgets that were asked for, here."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Record
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import ConditionsRecord, LatencyRecord, RanRecord


@dataclass(frozen=True)
class BudgetsResult(Record):
    """The gates of `artifact` on `device` and a gate for each budget: "loss" in "pp", "speed" in "ms", "size" in "MB".
    A budget that could not be measured, or not judged beside other programs, is not kept: its gate is not `judged`, and
    `passed` is false. `latency_ms` and `conditions` are those of the timing, None where none was asked for."""

    document = "result of edge-tl gate"
    advice = "run edge-tl gate again"
    error = BadInput

    passed: bool
    bundle: str
    artifact: str
    device: str
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...]
    machine: MachineRecord
    when: str
    ran: RanRecord | None = None
    latency_ms: LatencyRecord | None = None
    conditions: ConditionsRecord | None = None
