"""What the installed runtimes offer on a machine, as `edge-tl devices` prints it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Record, json_key
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import LoadRecord


@dataclass(frozen=True)
class TrialRecord(Record):
    """Whether a tiny model ran on the device `name`; `reason` says why not."""

    name: str
    works: bool
    reason: str | None


@dataclass(frozen=True)
class OpenVinoDevice(Record):
    """A device of OpenVINO; `full_name` is None and `capabilities` are empty where its driver fails."""

    name: str
    full_name: str | None
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class RuntimeOffer(Record):
    """An installed runtime: `providers` are ONNX Runtime's, `devices` OpenVINO's, none where it cannot be used; `fault`
    is then the exception's name. `sessions` say on which of them a tiny model ran, where that was tried."""

    version: str | None
    providers: tuple[str, ...] | None = None
    devices: tuple[OpenVinoDevice, ...] | None = None
    fault: str | None = json_key("error", None)
    sessions: tuple[TrialRecord, ...] | None = None


@dataclass(frozen=True)
class DevicesResult(Record):
    """What `edge-tl devices` prints: the machine, what may disturb a timing on it now, and what each runtime
    offers, None where it is not installed."""

    document = "result of edge-tl devices"
    advice = "run edge-tl devices again"
    error = BadInput

    machine: MachineRecord
    conditions: LoadRecord
    runtimes: dict[str, RuntimeOffer | None]
