"""What preprocessing inside the model costs: what is timed beside an artifact of raw pixels, and what that says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.workers import Workload
from edge_tl.device.bench.workloads import OUTSIDE, preprocessed_outside
from edge_tl.device.bundle import Bundle
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.image_input import ImageInputRecord
from edge_tl.host.export.image_artifacts import BESIDE, SUFFIX


def outside_workloads(bundle: Bundle) -> list[Workload]:
    """Beside every artifact of raw pixels the same weights behind Pillow, where their file is there: it goes with an
    artifact on tensors that cannot be timed."""
    found = []
    for artifact in bundle.artifacts:
        if artifact.takes_pixels:
            name = artifact.record.main.replace(f"{SUFFIX}.", ".")
            files = [path for path in (bundle.root / BESIDE / name, bundle.root / name) if path.exists()]
            found += [preprocessed_outside(bundle, artifact, path) for path in files[:1]]
    return found


def with_costs(
    record: BundleRecord, timing: BenchResult, busy: str | None, lost: Mapping[str, str]
) -> tuple[BundleRecord, BenchResult]:
    """The record with what preprocessing inside costs, and the timing without the rows that say so. `busy` says why it
    is not judged, `lost`, by the id of a workload, why that could not be timed."""
    rows = {row.id: row for row in timing.artifacts}
    artifacts = tuple(
        artifact
        if artifact.image_input is None
        else replace(artifact, image_input=_with_cost(artifact, artifact.image_input, rows, (busy, lost)))
        for artifact in record.artifacts
    )
    kept = tuple(row for row in timing.artifacts if not row.id.endswith(OUTSIDE))
    return replace(record, artifacts=artifacts), replace(timing, artifacts=kept)


def _with_cost(
    artifact: ArtifactRecord,
    own: ImageInputRecord,
    rows: Mapping[str, ArtifactTiming],
    why_not: tuple[str | None, Mapping[str, str]],
) -> ImageInputRecord:
    busy, lost = why_not
    name = f"{artifact.id}{OUTSIDE}"
    if name not in rows:
        reason = lost.get(name, "the artifact on tensors does not run here")
        return replace(own, not_judged=f"could not be timed: {reason}")
    if busy is not None:
        return replace(own, not_judged=busy)
    inside, outside = rows[artifact.id], rows[name]
    before, after = ([np.array(block, np.int64) for block in row.samples_ns] for row in (outside, inside))
    cost, interval = ratio.difference_ms(before, after, inside.block_round)
    return replace(
        own,
        inside_ms=inside.latency_ms.p50,
        outside_ms=outside.latency_ms.p50,
        cost_ms=cost,
        cost_ci_ms=interval,
    )
