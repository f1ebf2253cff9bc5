"""Saved results side by side, as `bench --compare --json` prints them. docs/reference/bench.md explains the keys.

Compares nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.records.codec import Record
from edge_tl.device.records.timing import Interval, LatencyRecord, RanRecord


@dataclass(frozen=True, kw_only=True)
class ComparedFile(Record):
    """One of the results; `load1` is the load average before it was measured."""

    file: str
    date: str
    machine: str
    kind: str | None
    load1: float | None


@dataclass(frozen=True, kw_only=True)
class ComparedRow(Record):
    """A measurement of an artifact in the file `number` (from 0): `slowdown` is how many times slower than in the base.
    `changed` says what else differs from the base; `alike` is whether it was timed in the same way; `not_judged` why
    the two say nothing of each other though both were timed: one of the machines was busy."""

    artifact: str
    figure: str
    how: str
    file: str
    number: int
    is_base: bool
    in_base: bool
    latency_ms: LatencyRecord
    images_per_s: float | None
    ran: RanRecord
    same_machine: bool
    alike: bool
    changed: tuple[str, ...]
    slowdown: float | None
    slowdown_ci: Interval | None
    distinguishable: bool | None
    not_judged: str | None = None


@dataclass(frozen=True, kw_only=True)
class MissingMeasurement(Record):
    """What the base has and another file of its machine lacks; `figure` None is the whole artifact."""

    artifact: str
    figure: str | None
    reason: str
    file: str
    number: int


@dataclass(frozen=True, kw_only=True)
class SlowdownGate(Record):
    """Whether a slow-down beyond `limit` is proven; without `judged` there is no outcome, and `reason` says why."""

    artifact: str
    figure: str | None
    file: str
    limit: float
    judged: bool
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResultsComparison(Record):
    """Every measurement of every file beside that of the base, and the gates where a limit was given."""

    base: str
    files: tuple[ComparedFile, ...]
    rows: tuple[ComparedRow, ...]
    missing: tuple[MissingMeasurement, ...]
    not_compared: tuple[str, ...]
    limit: float | None
    gates: tuple[SlowdownGate, ...]
    passed: bool
