"""What was timed and what ran, as an artifact's record and a bench's result hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Record, written

Milliseconds = Annotated[float, Bounds(0)]
Interval = tuple[float, float]
OpenInterval = tuple[float | None, float | None]
"""An end that so few calls cannot bound is None."""


@dataclass(frozen=True)
class LatencyRecord(Record):
    """Percentiles of `n` timed calls in milliseconds, with their 95 % intervals; None where the count of calls does not
    support one."""

    p50: Milliseconds | None = written(None)
    p90: Milliseconds | None = written(None)
    p95: Milliseconds | None = written(None)
    p99: Milliseconds | None = written(None)
    n: int | None = written(None)
    p50_ci: OpenInterval | None = written(None)
    p90_ci: OpenInterval | None = written(None)
    p95_ci: OpenInterval | None = written(None)
    p99_ci: OpenInterval | None = written(None)


@dataclass(frozen=True)
class FallbackRecord(Record):
    """Another device than `asked` ran, which was allowed; `ran` counts what ran by device."""

    asked: str
    ran: dict[str, int]
    why: str


@dataclass(frozen=True)
class ElsewhereRecord(Record):
    """How many nodes `of` all, none with matrix products, ran on another device, and their share of the time."""

    nodes: int
    of: int
    time_share: float


@dataclass(frozen=True)
class RanRecord(Record):
    """What really executed. `providers`, `layers` and `kernels` count nodes and matrix layers; `notes` are for people;
    `options` are those of the provider that were asked for; `weights` and `gpu_ms` are PyTorch's."""

    device: str
    precision: str
    threads: int
    runtime: str | None = None
    providers: dict[str, int] | None = None
    layers: dict[str, int] | None = None
    kernels: dict[str, int] | None = None
    precision_hint: str | None = None
    isa_cap: str | None = None
    elsewhere: ElsewhereRecord | None = None
    fallback: FallbackRecord | None = None
    notes: tuple[str, ...] = ()
    weights: str | None = None
    gpu_ms: float | None = None
    options: dict[str, str] | None = None


@dataclass(frozen=True)
class LoadRecord(Record):
    """How busy the machine was at one moment: load average, share of stolen time, governor, degrees Celsius."""

    load1: float | None = written(None)
    steal: float | None = written(None)
    governor: str | None = written(None)
    temperature_c: float | None = written(None)


@dataclass(frozen=True)
class UsageRecord(Record):
    """Of `cores` allowed, how many `others` used and a hypervisor kept (`stolen`), on average."""

    others: float
    stolen: float
    cores: float


@dataclass(frozen=True)
class WaitRecord(Record):
    """How many seconds a measurement was to wait for a quiet machine and did, and whether that became `quiet`; None
    where the system does not tell."""

    asked_s: Annotated[float, Bounds(0)]
    waited_s: Annotated[float, Bounds(0)]
    quiet: bool | None


@dataclass(frozen=True)
class ConditionsRecord(Record):
    """The machine before, after and during a measurement; `during` is None where the system does not tell. The least
    steady of what was timed ran at `against_itself_ci` times its own speed, a 95 % interval, in blocks side by side.
    `wait` is None where there was to be none."""

    before: LoadRecord
    after: LoadRecord
    during: UsageRecord | None = written(None)
    against_itself_ci: Interval | None = None
    wait: WaitRecord | None = None


@dataclass(frozen=True, kw_only=True)
class SkippedRecord(Record):
    """What could not run, and why."""

    artifact: str
    reason: str
