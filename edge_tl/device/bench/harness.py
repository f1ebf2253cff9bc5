"""What every result of a bench holds besides timings: date, machine, conditions, and what the harness itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from edge_tl.device.bench.machine_use import CpuUsage, cpu_usage
from edge_tl.device.bench.timer import time_calls
from edge_tl.device.bench.worker import some_inputs
from edge_tl.device.machine import current_load, identity
from edge_tl.device.records.bench import ArtifactTiming, BenchResult, MethodRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, SkippedRecord
from edge_tl.device.runtimes.open import NullRuntime

Kind = Literal["latency", "noise", "pace", "parts"]


@dataclass(frozen=True)
class Beginning:
    """How busy the machine was when a measurement began, and what had been used of it by then."""

    load: LoadRecord = field(default_factory=current_load)
    used: CpuUsage | None = field(default_factory=cpu_usage)

    def conditions(self) -> ConditionsRecord:
        """From then until now. Processes that were timed have ended: those that live count as others."""
        now = cpu_usage()
        return ConditionsRecord(
            self.load, current_load(), self.used.until(now) if self.used and now else None
        )


def new_result(
    kind: Kind,
    begun: Beginning,
    method: MethodRecord,
    artifacts: Sequence[ArtifactTiming],
    skipped: Sequence[SkippedRecord] = (),
) -> BenchResult:
    """The result of what was measured here since `begun`; `kind` says what its artifacts hold besides latency."""
    return BenchResult(
        kind=kind,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=identity(),
        conditions=begun.conditions(),
        harness_floor_us=floor_us(),
        method=method,
        artifacts=tuple(artifacts),
        skipped=tuple(skipped),
    )


def floor_us() -> float:
    """What the timer and the seam themselves cost, in microseconds: the median call of a runtime that does nothing."""
    null, inputs = NullRuntime(10), some_inputs((1, 3, 8, 8))
    return float(np.median(time_calls(lambda: null(inputs), warmup=100, count=1000))) / 1e3


def warnings(result: BenchResult) -> list[str]:
    """A sentence for a person about everything in the result that ran elsewhere than asked; what a sweep or the
    throughput has to add to an artifact's own, under the name of the first row that says it."""
    rows = [(row.id, row.id, row.ran.notes) for row in result.artifacts]
    for row in result.sweep or ():
        name = f"{row.artifact}, batch {row.batch}, {row.threads} threads"
        rows.append((row.artifact, name, row.ran.notes))
    rows += [(row.artifact, f"{row.artifact}, throughput", row.ran.notes) for row in result.throughput or ()]
    first: dict[tuple[str, str], str] = {}
    for artifact, name, notes in rows:
        for note in notes:
            first.setdefault((artifact, note), name)
    return [f"{name}: {note}" for (_, note), name in first.items()]
