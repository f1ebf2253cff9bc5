"""The machine that a number was measured on. Holds nothing that says whose machine it is.

Measures nothing: `edge_tl.device.machine` fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Record, written


@dataclass(frozen=True, kw_only=True)
class MachineRecord(Record):
    """System, CPU and library versions; None where the platform does not tell. `cores` and `memory_mb` (MiB) are the
    machine's, `cores_allowed` those that this process may use. `vnni`: whether INT8 products accumulate in 32 bits."""

    os: str | None
    kernel: str | None = written(None)
    arch: str | None
    cpu: str | None
    cores: int | None = written(None)
    cores_allowed: Annotated[int, Bounds(1)]
    isa: tuple[str, ...]
    governor: str | None = written(None)
    memory_mb: int | None = written(None)
    python: str | None = written(None)
    versions: dict[str, str | None] | None = written(None)
    vnni: bool | None = None
