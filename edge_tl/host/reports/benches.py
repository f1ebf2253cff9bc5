"""The benches that a bundle's record holds, as records. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping

from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Json


def bench_of(record: BundleRecord) -> BenchResult | None:
    """What timed PyTorch and the artifacts in turns; None where the record does not hold it. Raises `BadInput` for one
    that is not as it should be."""
    return _read(record.bench, "bench")


def steps_of(record: BundleRecord) -> BenchResult | None:
    """What timed the steps of a prediction. As `bench_of`."""
    return _read(record.steps, "steps")


def peak_memory(record: BundleRecord, name: str) -> float | None:
    """The most that a process held which loads and runs it, MiB, where a bench of the export took it."""
    rows = [row for bench in (steps_of(record), bench_of(record)) if bench for row in bench.artifacts]
    return next((row.memory_mb.peak for row in rows if row.id == name and row.memory_mb), None)


def _read(value: Json, where: str) -> BenchResult | None:
    if not isinstance(value, Mapping) or "schema" not in value:
        return None
    return BenchResult.from_json(value, f"report.json: {where}", newer_keys=True)
