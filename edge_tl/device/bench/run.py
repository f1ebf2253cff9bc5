"""A bench of a bundle: what the options ask for, of the artifacts that can run here. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_tl.device.artifact_choice import best_first, stand_in_note
from edge_tl.device.bench.breakdown import time_breakdown
from edge_tl.device.bench.harness import warnings
from edge_tl.device.bench.latency import time_against_itself, time_interleaved
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bench.paced import ROUNDS, SECONDS, time_paced, time_sustained
from edge_tl.device.bench.quiet import when_quiet
from edge_tl.device.bench.results import with_bundle
from edge_tl.device.bench.workers import Workload
from edge_tl.device.bench.workloads import Selection, startable, workloads
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.instructions import able
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.timing import SkippedRecord
from edge_tl.device.runtimes.devices import runnable_artifacts

USUAL = BenchOptions()


def bench(
    bundle: Bundle,
    options: BenchOptions = USUAL,
    *,
    reference: Sequence[Workload] = (),
    listener: Listener = SILENT,
) -> BenchResult:
    """Measure what the options ask for. `reference` is PyTorch's side, which is timed beside the artifacts where every
    one of them is (`options.kind` is "latency").

    What cannot run here is in `skipped`, with its reason. Raises `BadInput` for an artifact that the bundle lacks or a
    device that nothing here has, `MissingExtra` where no runtime is installed, `FellBack` where another device ran
    than asked for, and `EdgeTLError` where a process that is timed ends.
    """
    asked = [bundle.artifact(name) for name in options.artifacts]
    suited, lacking = able(asked or bundle.artifacts, options.device)
    if not suited:
        raise BadInput(
            f"{lacking[0]['artifact']} cannot be timed here: {lacking[0]['reason']}. Time another one."
        )
    _check_batches(asked or suited, options)
    runnable, refused = runnable_artifacts(suited, options.device)

    def measure() -> BenchResult:
        return _measured(bundle, runnable, options, reference, listener)

    result = when_quiet(options.wait_quiet_s, measure, listener=listener)
    skipped = [SkippedRecord(**entry) for entry in (*lacking, *refused)]
    return replace(result, skipped=(*skipped, *result.skipped))


def _check_batches(artifacts: Sequence[Artifact], options: BenchOptions) -> None:
    """Raises `BadInput` for batches of what takes one image a call, where it was named or nothing else is there."""
    one = [artifact.id for artifact in artifacts if artifact.takes_pixels]
    if one and max(options.batches, default=1) > 1 and (options.artifacts or len(one) == len(artifacts)):
        raise BadInput(
            f"{one[0]} takes one image a call: --batch has no effect on it. Name an artifact on tensors, or leave "
            "--batch out."
        )


def _measured(
    bundle: Bundle,
    runnable: Sequence[Artifact],
    options: BenchOptions,
    reference: Sequence[Workload],
    listener: Listener,
) -> BenchResult:
    skipped: list[SkippedRecord] = []
    if options.kind in ("aa", "paced", "sustained"):
        chosen, more = _startable(bundle, runnable, options, listener)
        result = _of_some(chosen, options, listener)
        skipped += more
    elif options.kind == "breakdown":
        result = time_breakdown(
            Selection(bundle, runnable, options.place),
            options.breakdown,
            effort=options.effort,
            seed=options.seed,
            listener=listener,
        )
    else:
        beside = [*reference, *workloads(bundle, runnable, place=options.place)]
        result = time_interleaved(
            beside, effort=options.effort, seed=options.seed, lenient=True, listener=listener
        )
    result = replace(result, skipped=(*skipped, *result.skipped), warnings=tuple(warnings(result)))
    return with_bundle(result, bundle)


def _startable(
    bundle: Bundle, runnable: Sequence[Artifact], options: BenchOptions, listener: Listener
) -> tuple[list[Workload], list[SkippedRecord]]:
    """Of those that were not asked for by name, the recommended one where it can run, else the first that can."""
    order = list(runnable) if options.artifacts else best_first(bundle, runnable)
    if not order:
        raise BadInput("every artifact that can run here failed its gates. Name one with --artifact.")
    most = None if options.artifacts else 1
    chosen, skipped = startable(workloads(bundle, order, place=options.place), most=most)
    if not options.artifacts and (
        note := stand_in_note(bundle, bundle.artifact(chosen[0].id), options.device)
    ):
        listener.note(f"note: {note}")
    return chosen, skipped


def _of_some(chosen: Sequence[Workload], options: BenchOptions, listener: Listener) -> BenchResult:
    """An artifact against itself, or at the application's rate."""
    if options.kind == "aa":
        return time_against_itself(chosen[0], effort=options.effort, seed=options.seed, listener=listener)
    if options.minutes is not None:
        return time_sustained(chosen[0], options.arrivals, minutes=options.minutes, listener=listener)
    return time_paced(
        chosen,
        options.arrivals,
        seconds=options.seconds or SECONDS,
        rounds=options.rounds or ROUNDS,
        seed=options.seed,
        listener=listener,
    )
