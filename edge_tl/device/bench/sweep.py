"""Batch sizes and numbers of threads: every combination of one artifact, timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.workers import reason
from edge_tl.device.bench.workloads import Selection, workloads
from edge_tl.device.errors import EdgeTLError, FellBack
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bench import ArtifactTiming, SweepTiming
from edge_tl.device.records.timing import SkippedRecord


def time_sweep(
    selection: Selection,
    *,
    batches: Sequence[int] = (),
    threads: Sequence[int] = (),
    effort: Effort,
    seed: int = 0,
    listener: Listener = SILENT,
) -> tuple[list[SweepTiming], list[SkippedRecord]]:
    """Every combination of batch size and threads, all of one artifact timed in turns, and what cannot run. Without
    `threads`, every core allowed. Raises as `time_interleaved`."""
    combinations = [(batch, count) for batch in batches or (1,) for count in threads or (None,)]
    rows: list[SweepTiming] = []
    skipped: list[SkippedRecord] = []
    failure: EdgeTLError | None = None
    for artifact in selection.artifacts:
        own = [each for each in combinations if each[0] == 1 or not artifact.takes_pixels]
        if len(own) < len(combinations):
            why = "it takes one image a call, so it has no batches"
            skipped.append(SkippedRecord(artifact=f"{artifact.id} (sweep)", reason=why))
        if not own:
            continue
        asked, of = [], {}
        for batch, count in own:
            place = replace(selection.place, threads=count)
            (workload,) = workloads(selection.bundle, [artifact], place=place, batch=batch)
            name = f"{artifact.id}, batch {batch}" + (f", {count} threads" if count else "")
            asked.append(replace(workload, id=name))
            of[name] = (batch, count)
        try:
            result = time_interleaved(asked, effort=effort, seed=seed, lenient=True, listener=listener)
        except FellBack:
            raise
        except EdgeTLError as error:
            failure = error
            skipped.append(SkippedRecord(artifact=f"{artifact.id} (sweep)", reason=reason(error)))
            continue
        skipped += result.skipped
        rows += [_sweep_timing(artifact.id, *of[row.id], row) for row in result.artifacts]
    if failure and not rows:
        raise failure
    return rows, skipped


def _sweep_timing(artifact: str, batch: int, threads: int | None, row: ArtifactTiming) -> SweepTiming:
    middle = row.latency_ms.p50
    return SweepTiming(
        artifact=artifact,
        batch=batch,
        asked_threads=threads,
        threads=row.ran.threads,
        latency_ms=row.latency_ms,
        ms_per_image=middle / batch if middle else None,
        images_per_s=1e3 * batch / middle if middle else None,
        ran=row.ran,
        samples_ns=row.samples_ns,
        block_round=row.block_round,
    )
