"""What every result of a bench holds besides timings: date, machine, conditions, and what the harness itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from edge_tl.device.bench.timer import time_calls
from edge_tl.device.bench.worker import some_inputs
from edge_tl.device.machine import current_load, identity
from edge_tl.device.records.bench import ArtifactTiming, BenchResult, MethodRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, SkippedRecord
from edge_tl.device.runtimes.open import NullRuntime

Kind = Literal["latency", "noise", "pace", "parts"]


def new_result(
    kind: Kind,
    before: LoadRecord,
    method: MethodRecord,
    artifacts: Sequence[ArtifactTiming],
    skipped: Sequence[SkippedRecord] = (),
) -> BenchResult:
    """The result of what was measured here since `before`; `kind` says what its artifacts hold besides latency."""
    return BenchResult(
        kind=kind,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=identity(),
        conditions=ConditionsRecord(before, current_load()),
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
