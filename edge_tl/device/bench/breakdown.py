"""Where the time goes: cold start, each step from file to label, memory, size, batches, threads, streams.

Starts processes and puts what they answer side by side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from edge_tl.device.bench.breakdown_worker import StepsAnswer, ThroughputAnswer
from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.harness import Beginning, new_result
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.sweep import time_sweep
from edge_tl.device.bench.workers import Worker, Workload, reason
from edge_tl.device.bench.workloads import Selection, workloads
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bench import (
    ArtifactTiming,
    BenchResult,
    ColdStart,
    MemoryRecord,
    MethodRecord,
    StepLatencies,
    ThroughputRecord,
)
from edge_tl.device.records.timing import LatencyRecord, SkippedRecord

WORKER = "edge_tl.device.bench.breakdown_worker"
ROUNDS = 5
CALLS = 140  # of each step and round: 700 in all, enough for a p99
QUICK_ROUNDS, QUICK_CALLS = 3, 34  # 100 in all: p90
STREAM_ROUNDS, STREAM_S, QUICK_STREAM_S = 3, 3.0, 1.0
Answer = TypeVar("Answer", StepsAnswer, ThroughputAnswer)
STEPS = ("decode", "preprocess", "inference", "postprocess", "whole")


@dataclass(frozen=True)
class Breakdown:
    """What to measure: the steps, a sweep over batch sizes and numbers of threads, throughput. `rounds` and `calls` are
    those of the steps; None is the usual number, fewer where `quick`."""

    steps: bool = False
    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    throughput: bool = False
    quick: bool = False
    rounds: int | None = None
    calls: int | None = None


def time_breakdown(
    selection: Selection,
    wanted: Breakdown,
    *,
    effort: Effort,
    seed: int = 0,
    listener: Listener = SILENT,
) -> BenchResult:
    """Whatever was wanted, in one result. Without the steps its artifacts are the plain bench's. What cannot run in the
    first is not tried in the others."""
    if wanted.steps:
        result = time_steps(
            selection,
            rounds=wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS),
            calls=wanted.calls or (QUICK_CALLS if wanted.quick else CALLS),
            seed=seed,
            listener=listener,
        )
    else:
        plain = workloads(selection.bundle, selection.artifacts, place=selection.place)
        timed = time_interleaved(plain, effort=effort, seed=seed, lenient=True, listener=listener)
        result = replace(timed, kind="parts")
    able = selection.only({row.id for row in result.artifacts})
    if wanted.batches or wanted.threads:
        rows, skipped = time_sweep(
            able,
            batches=wanted.batches,
            threads=wanted.threads,
            effort=effort,
            seed=seed,
            listener=listener,
        )
        result = replace(result, sweep=tuple(rows), skipped=(*result.skipped, *skipped))
    if wanted.throughput:
        seconds = QUICK_STREAM_S if wanted.quick else STREAM_S
        rates, skipped = measure_throughput(able, seconds=seconds, listener=listener)
        skipped = [replace(entry, artifact=f"{entry.artifact} (throughput)") for entry in skipped]
        result = replace(result, throughput=tuple(rates), skipped=(*result.skipped, *skipped))
    return result


def time_steps(
    selection: Selection,
    *,
    rounds: int = ROUNDS,
    calls: int = CALLS,
    seed: int = 0,
    listener: Listener = SILENT,
) -> BenchResult:
    """Each artifact's steps over the golden images, its cold start (medians over `rounds` fresh processes), its memory
    and its size.

    `latency_ms` is that of inference alone, so that any result can be compared with any other. What cannot run is
    listed under `skipped`. Raises as `time_interleaved`.
    """
    begun, order = Beginning(), random.Random(seed)
    images = max(1, len(selection.bundle.golden_images()))
    repeats = max(1, -(-calls // images))
    asked = _workloads(selection, bundle=str(selection.bundle.root), warm=1, repeats=repeats)
    answers, skipped = _ask(
        asked,
        rounds,
        lambda workload: once(workload, StepsAnswer),
        progress=lambda done: listener.progress("latency", done, rounds),
        order=order,
    )
    sizes = {a.id: a.record.size_mb for a in selection.artifacts}
    rows = [_timing(name, found, sizes[name]) for name, found in answers.items()]
    method = MethodRecord(rounds=rounds, blocks=1, count=calls, warmup=1, batch=1, seed=seed)
    return new_result("parts", begun, method, rows, skipped)


def measure_throughput(
    selection: Selection,
    *,
    rounds: int = STREAM_ROUNDS,
    seconds: float = STREAM_S,
    listener: Listener = SILENT,
) -> tuple[list[ThroughputRecord], list[SkippedRecord]]:
    """Images a second of each artifact, one image a request, in `rounds` fresh processes; and what cannot run. Raises
    as `time_interleaved`."""
    answers, skipped = _ask(
        _workloads(selection, throughput_s=seconds),
        rounds,
        lambda workload: once(workload, ThroughputAnswer),
        progress=lambda done: listener.progress("throughput", done, rounds),
    )
    rows = []
    for name, found in answers.items():
        rates = tuple(one.images / one.seconds for one in found)
        middle = float(np.median(rates))
        rows.append(
            ThroughputRecord(artifact=name, batch=1, images_per_s=middle, rounds=rates, ran=found[-1].ran)
        )
    return rows, skipped


def _workloads(selection: Selection, **more: object) -> list[Workload]:
    """Each in a process of `breakdown_worker`, with `more` in its specification."""
    found = workloads(selection.bundle, selection.artifacts, place=selection.place)
    return [replace(workload, module=WORKER, spec=workload.spec | more) for workload in found]


def _ask(
    asked: Sequence[Workload],
    rounds: int,
    ask: Callable[[Workload], Answer],
    *,
    progress: Callable[[int], None],
    order: random.Random | None = None,
) -> tuple[dict[str, list[Answer]], list[SkippedRecord]]:
    """What a fresh process of everyone answers in each round, in turns drawn from `order`; a workload that cannot run
    is left out, with its reason. Raises the last one's error when none can, and always `FellBack`."""
    answers: dict[str, list[Answer]] = {workload.id: [] for workload in asked}
    skipped: list[SkippedRecord] = []
    failure: EdgeTLError = MissingExtra("a runtime for this bundle", "ort")
    for number in range(rounds):
        left = [workload for workload in asked if workload.id in answers]
        for workload in order.sample(left, len(left)) if order else left:
            try:
                answers[workload.id].append(ask(workload))
            except FellBack:
                raise
            except EdgeTLError as error:
                failure = error
                skipped.append(SkippedRecord(artifact=workload.id, reason=reason(error)))
                del answers[workload.id]
        progress(number + 1)
    if not answers:
        raise failure
    return answers, skipped


def once(workload: Workload, kind: type[Answer]) -> Answer:
    """What one fresh process answers. Raises `EdgeTLError` when it dies."""
    worker = Worker(workload, warmup=0, describe=True)
    try:
        return kind.from_json(worker.answer())
    finally:
        worker.kill()


def _timing(name: str, found: Sequence[StepsAnswer], size_mb: float) -> ArtifactTiming:
    rounds = np.repeat(np.arange(len(found)), [len(answer.steps.whole) for answer in found])

    def summary(step: str) -> LatencyRecord:
        samples = [np.array(getattr(answer.steps, step), np.int64) for answer in found]
        return summarize(np.concatenate(samples), rounds)

    normalized = all(answer.steps.normalize for answer in found)
    steps = StepLatencies(
        **{step: summary(step) for step in STEPS}, normalize=summary("normalize") if normalized else None
    )
    cold = ColdStart(
        import_=_median([answer.import_ns for answer in found], 1e-6),
        read_=_median([answer.read_ns for answer in found], 1e-6),
        compile=_median([answer.compile_ns for answer in found], 1e-6),
        first=_median([answer.first_ns for answer in found], 1e-6),
    )
    memory = MemoryRecord(
        start=_median([answer.memory_mb.start for answer in found]),
        loaded=_median([answer.memory_mb.loaded for answer in found]),
        peak=_median([answer.memory_mb.peak for answer in found]),
    )
    return ArtifactTiming(
        id=name,
        latency_ms=steps.inference,
        ran=found[-1].ran,
        load_ms=(cold.read_ or 0) + (cold.compile or 0),
        first_ms=cold.first,
        parts=steps,
        cold_ms=cold,
        memory_mb=memory,
        size_mb=size_mb,
        samples_ns=tuple(answer.steps.inference for answer in found),
        steps_ns=tuple(answer.steps for answer in found),
        block_round=tuple(range(len(found))),
    )


def _median(values: Sequence[float | None], scale: float = 1.0) -> float | None:
    """None where one of them was not measured."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) * scale if known and len(known) == len(values) else None
