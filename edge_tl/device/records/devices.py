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
class PluginDevice(Record):
    """A device of a plugin: `name` is what `--device` calls it, `hardware` "CPU", "GPU" or "NPU"; the numbers are those
    of its maker, by the PCI registry where it lies on that bus."""

    name: str
    hardware: str
    vendor: str | None
    vendor_id: int
    device_id: int


@dataclass(frozen=True)
class PluginRecord(Record):
    """A plugin execution provider of ONNX Runtime: `package` brings it, or is the variable that names its library;
    `fault` says why it cannot be loaded."""

    error = BadInput

    package: str
    version: str | None
    devices: tuple[PluginDevice, ...]
    fault: str | None = json_key("error", None)


@dataclass(frozen=True)
class RuntimeOffer(Record):
    """An installed runtime: `providers` are ONNX Runtime's, with its `plugins`, `devices` OpenVINO's, none where it
    cannot be used; `fault` is then the exception's name. `sessions` say on which of them a tiny model ran, where that
    was tried."""

    version: str | None
    providers: tuple[str, ...] | None = None
    devices: tuple[OpenVinoDevice, ...] | None = None
    fault: str | None = json_key("error", None)
    sessions: tuple[TrialRecord, ...] | None = None
    plugins: tuple[PluginRecord, ...] = ()


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
