"""What `edge-tl tune` picked on one machine, as `--json` prints it and `tuned/MACHINE.json` beside a bundle keeps it.

Measures and chooses nothing. Nothing in it tells whose machine it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Bounds, Fault, NotEmpty, Pattern, Record, written
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import ConditionsRecord, Interval, LatencyRecord, RanRecord, SkippedRecord

Objective = Literal["latency", "throughput", "memory"]
MachineId = Annotated[str, Pattern("[a-z0-9][a-z0-9-]{0,79}", "lower-case letters, digits and dashes")]
DeviceName = Annotated[str, Pattern(r"[A-Za-z0-9_.:,()-]{1,64}", "the name of a device, such as CPU")]
Threads = Annotated[int, Bounds(0, 4096)]
Sha256 = Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]


@dataclass(frozen=True, kw_only=True)
class AlternativeRecord(Record):
    """What the pick was chosen over. `ratio` is how many times the pick's latency (its time an image, its memory, by
    the objective) it takes, with its 95 % interval: above 1 is worse; None where too little was measured. `reason` says
    why it was not picked."""

    artifact: NotEmpty
    device: DeviceName
    threads: Threads
    latency_ms: LatencyRecord
    images_per_s: float | None = None
    memory_mb: float | None = None
    ratio: float | None = written(None)
    ratio_ci: Interval | None = written(None)
    reason: str


@dataclass(frozen=True, kw_only=True)
class TunedRecord(Record):
    """The artifact, the device and the number of CPU threads to use on the machine `machine_id`; all None where nothing
    is within the limits, and `nearest` is then the artifact that comes nearest.

    `threads` is 0 where the CPU takes no part. `images_per_s` and `memory_mb` (MiB, at most) are there where they were
    the objective. `not_judged` says why the figures may not be this machine's. `bundle_seal` and `files` (SHA-256 by
    path) say which bundle and which file was tuned; `path` is where the pick was written, which the file itself leaves
    out."""

    document = "result of edge-tl tune"
    advice = "run edge-tl tune on the bundle again"
    error = BadInput

    schema: Literal["edge-tl tuned 1"] = written("edge-tl tuned 1")
    objective: Objective
    max_p95_ms: float | None = written(None)
    artifact: NotEmpty | None
    device: DeviceName | None
    threads: Threads | None
    latency_ms: LatencyRecord | None
    images_per_s: float | None = None
    memory_mb: float | None = None
    ran: RanRecord | None = None
    over: tuple[AlternativeRecord, ...]
    nearest: str | None = None
    skipped: tuple[SkippedRecord, ...] = written(())
    warnings: tuple[str, ...] = written(())
    not_judged: str | None = written(None)
    conditions: ConditionsRecord | None = written(None)
    machine_id: MachineId
    machine: MachineRecord
    when: str
    seconds: float | None = written(None)
    name: str | None = None
    bundle_seal: Sha256
    files: dict[str, Sha256]
    path: str | None = None

    def check(self) -> None:
        """Raises `Fault` for a pick that is not whole."""
        parts = (self.artifact, self.device, self.threads, self.latency_ms)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise Fault(
                "artifact", "a pick without all of its parts", "artifact, device, threads, latency_ms"
            )
