"""The benches that a bundle's record holds, as records. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping

from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Json


def bench_of(record: BundleRecord) -> BenchResult | None:
    """What timed PyTorch and the artifacts in turns; None where the record does not hold it. Raises `BadInput` for one
    that is not as it should be."""
    return _read(record.bench, "bench")


def steps_of(record: BundleRecord) -> BenchResult | None:
    """What timed the steps of a prediction. As `bench_of`."""
    return _read(record.steps, "steps")


def timed_steps(record: BundleRecord, artifact: str) -> ArtifactTiming | None:
    """The artifact's row there: its steps, cold start and memory."""
    found = steps_of(record)
    return next((row for row in found.artifacts if row.id == artifact), None) if found else None


def _read(value: Json, where: str) -> BenchResult | None:
    if not isinstance(value, Mapping) or "schema" not in value:
        return None
    return BenchResult.from_json(value, f"report.json: {where}", newer_keys=True)
