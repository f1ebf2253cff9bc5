"""The steps of a prediction of what an export recommends, its cold start and memory, for the report. Judges nothing."""

from __future__ import annotations

from edge_tl.device import bundle as bundles
from edge_tl.device.bench.breakdown import QUICK_CALLS, QUICK_ROUNDS, time_steps
from edge_tl.device.bench.workloads import Selection
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.export.job import ExportJob


def time_recommended(job: ExportJob, record: BundleRecord) -> BenchResult | None:
    """In three fresh processes, a few seconds; None where nothing is recommended. What fails is an entry: it is no
    reason to lose an export."""
    if record.recommended is None:
        return None
    try:
        bundle = bundles.read_bundle(job.staging)
        chosen = [artifact for artifact in bundle.artifacts if artifact.id == record.recommended]
        return time_steps(
            Selection(bundle, chosen),
            rounds=QUICK_ROUNDS,
            calls=QUICK_CALLS,
            seed=job.recipe.seed,
            listener=job.listener,
        )
    except (EdgeTLError, OSError) as error:
        job.failed("steps", error)
        return None
