"""Where the time goes: cold start, each step from file to label, memory, size, batches, threads, streams.

It starts processes and puts what they answer side by side; it must not print.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.latency import Effort, header, time_interleaved, workloads
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.workers import Worker, Workload, reason
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import conditions

WORKER = "edge_tl.device.bench.breakdown_worker"
ROUNDS = 5
CALLS = 140  # of each step and round: 700 in all, enough for a p99
QUICK_ROUNDS, QUICK_CALLS = 3, 34  # 100 in all: p90
STREAM_S, QUICK_STREAM_S = 3.0, 1.0
STEPS = ("decode", "preprocess", "inference", "postprocess", "whole")
COLD = ("import", "read", "compile", "first")


def time_breakdown(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    steps: bool,
    batches: Sequence[int],
    threads: Sequence[int],
    streams: bool,
    effort: Effort,
    quick: bool = False,
    rounds: int | None = None,
    calls: int | None = None,
    device: str = "CPU",
    allow_fallback: bool = False,
    seed: int = 0,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Whatever of `parts`, `sweep` (under "sweep") and `throughput` (under "throughput") was asked for, in one result.
    Without `steps` its `artifacts` are the plain bench's. `rounds` and `calls` are those of the steps; left out, what
    `quick` says. What cannot run in the first is not tried in the others."""
    if steps:
        usual = (QUICK_CALLS, QUICK_ROUNDS) if quick else (CALLS, ROUNDS)
        result = time_steps(
            bundle,
            artifacts,
            device=device,
            allow_fallback=allow_fallback,
            rounds=rounds or usual[1],
            calls=calls or usual[0],
            seed=seed,
            listener=listener,
        )
    else:
        field = workloads(bundle, artifacts, device=device, allow_fallback=allow_fallback)
        result = time_interleaved(field, effort=effort, seed=seed, lenient=True, listener=listener) | {
            "kind": "parts"
        }
    able = {row["id"] for row in result["artifacts"]}
    artifacts = [artifact for artifact in artifacts if artifact.id in able]
    if batches or threads:
        result["sweep"], skipped = time_sweep(
            bundle,
            artifacts,
            batches=batches,
            threads=threads,
            device=device,
            allow_fallback=allow_fallback,
            effort=effort,
            seed=seed,
            listener=listener,
        )
        result["skipped"] += skipped
    if streams:
        result["throughput"], skipped = measure_throughput(
            bundle,
            artifacts,
            device=device,
            allow_fallback=allow_fallback,
            seconds=QUICK_STREAM_S if quick else STREAM_S,
            listener=listener,
        )
        result["skipped"] += [e | {"artifact": f"{e['artifact']} (throughput)"} for e in skipped]
    return result


def time_steps(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    device: str = "CPU",
    allow_fallback: bool = False,
    rounds: int = ROUNDS,
    calls: int = CALLS,
    seed: int = 0,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Each artifact's `parts{STEP: {p50, p90, p99, n, …}}` in milliseconds over the golden images, `cold_ms{import,
    read, compile, first}` (medians over `rounds` fresh processes), `memory_mb{start, loaded, peak}` and `size_mb`.

    `latency_ms` is that of inference alone, so that any result can be compared with any other. What cannot run is
    listed under `skipped`. Raises as `time_interleaved`.
    """
    before, order = conditions(), random.Random(seed)
    images = max(1, len(bundle.golden_images()))
    field = [
        replace(
            workload,
            module=WORKER,
            spec=workload.spec
            | {"bundle": str(bundle.root), "warm": 1, "repeats": max(1, -(-calls // images))},
        )
        for workload in workloads(bundle, artifacts, device=device, allow_fallback=allow_fallback)
    ]
    answers, skipped = _answers(
        field, rounds, progress=lambda done: listener.progress("latency", done, rounds), order=order
    )
    sizes = {a.id: a.record.size_mb for a in artifacts}
    rows = [_row(name, found, sizes[name]) for name, found in answers.items()]
    method = {"rounds": rounds, "blocks": 1, "count": calls, "warmup": 1, "batch": 1, "seed": seed}
    return header("parts", before, method) | {"artifacts": rows, "skipped": skipped}


def time_sweep(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    batches: Sequence[int],
    threads: Sequence[int],
    device: str = "CPU",
    allow_fallback: bool = False,
    effort: Effort,
    seed: int = 0,
    listener: Listener = SILENT,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """`{artifact, batch, asked_threads, threads, latency_ms{}, ms_per_image, images_per_s, ran}` of every combination,
    all of one artifact timed in turns, and `{artifact, reason}` for what cannot run. `threads` in a row is what ran;
    left empty, every core allowed. Raises as `time_interleaved`."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    failure: EdgeTLError | None = None
    for artifact in artifacts:
        field, asked = [], {}
        for batch in batches or (1,):
            for count in threads or (None,):
                (workload,) = workloads(
                    bundle,
                    [artifact],
                    device=device,
                    allow_fallback=allow_fallback,
                    threads=count,
                    batch=batch,
                )
                name = f"{artifact.id}, batch {batch}" + (f", {count} threads" if count else "")
                field.append(replace(workload, id=name))
                asked[name] = (batch, count)
        try:
            result = time_interleaved(field, effort=effort, seed=seed, lenient=True, listener=listener)
        except FellBack:
            raise
        except EdgeTLError as error:
            failure = error
            skipped.append({"artifact": f"{artifact.id} (sweep)", "reason": reason(error)})
            continue
        skipped += result["skipped"]
        for row in result["artifacts"]:
            (batch, count), middle = asked[row["id"]], row["latency_ms"]["p50"]
            rows.append(
                {
                    "artifact": artifact.id,
                    "batch": batch,
                    "asked_threads": count,
                    "threads": row["ran"]["threads"],
                    "latency_ms": row["latency_ms"],
                    "ms_per_image": middle / batch if middle else None,
                    "images_per_s": 1e3 * batch / middle if middle else None,
                    "ran": row["ran"],
                    "samples_ns": row["samples_ns"],
                    "block_round": row["block_round"],
                }
            )
    if failure and not rows:
        raise failure
    return rows, skipped


def measure_throughput(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    device: str = "CPU",
    allow_fallback: bool = False,
    batch: int = 1,
    rounds: int = 3,
    seconds: float = STREAM_S,
    listener: Listener = SILENT,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """`{artifact, batch, images_per_s, rounds[], ran}`: the median over fresh processes, each of them in `rounds`; and
    `{artifact, reason}` for what cannot run. Raises as `time_interleaved`."""
    field = [
        replace(workload, module=WORKER, spec=workload.spec | {"throughput_s": seconds})
        for workload in workloads(
            bundle, artifacts, device=device, allow_fallback=allow_fallback, batch=batch
        )
    ]
    answers, skipped = _answers(
        field, rounds, progress=lambda done: listener.progress("throughput", done, rounds)
    )
    rates = {name: [one["images"] / one["seconds"] for one in found] for name, found in answers.items()}
    rows = [
        {
            "artifact": name,
            "batch": batch,
            "images_per_s": float(np.median(found)),
            "rounds": found,
            "ran": answers[name][-1]["ran"],
        }
        for name, found in rates.items()
    ]
    return rows, skipped


def _answers(
    field: Sequence[Workload],
    rounds: int,
    *,
    progress: Callable[[int], None],
    order: random.Random | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, str]]]:
    """What a fresh process of everyone answers in each round, in turns drawn from `order`; who cannot run is left out
    and has an `{artifact, reason}`. Raises what the last one said when nobody can, and always `FellBack`."""
    answers: dict[str, list[dict[str, Any]]] = {workload.id: [] for workload in field}
    skipped: list[dict[str, str]] = []
    failure: EdgeTLError = MissingExtra("a runtime for this bundle", "ort")
    for number in range(rounds):
        racing = [c for c in field if c.id in answers]
        for workload in order.sample(racing, len(racing)) if order else racing:
            try:
                answers[workload.id].append(once(workload))
            except FellBack:
                raise
            except EdgeTLError as error:
                failure = error
                skipped.append({"artifact": workload.id, "reason": reason(error)})
                del answers[workload.id]
        progress(number + 1)
    if not answers:
        raise failure
    return answers, skipped


def once(workload: Workload) -> dict[str, Any]:
    """What one fresh process answers. Raises `EdgeTLError` when it dies."""
    worker = Worker(workload, warmup=0, describe=True)
    try:
        return worker.answer()
    finally:
        worker.kill()


def _row(name: str, found: list[dict[str, Any]], size: float) -> dict[str, Any]:
    steps = {}
    rounds = np.repeat(np.arange(len(found)), [len(answer["steps"]["whole"]) for answer in found])
    for step in STEPS:
        steps[step] = summarize(
            np.concatenate([np.array(answer["steps"][step], np.int64) for answer in found]), rounds
        )
    cold = {}
    for part in COLD:
        seen = [answer[f"{part}_ns"] for answer in found]
        cold[part] = None if None in seen else float(np.median(seen)) / 1e6
    memory = {}
    for key in ("start", "loaded", "peak"):
        sizes = [answer["memory_mb"][key] for answer in found]
        memory[key] = None if None in sizes else float(np.median(sizes))
    return {
        "id": name,
        "latency_ms": steps["inference"],
        **ratio.speedup([], []),
        "ran": found[-1]["ran"],
        "load_ms": sum(value for key, value in cold.items() if key in ("read", "compile") and value),
        "first_ms": cold["first"],
        "parts": steps,
        "cold_ms": cold,
        "memory_mb": memory,
        "size_mb": size,
        "samples_ns": [answer["steps"]["inference"] for answer in found],
        "steps_ns": [answer["steps"] for answer in found],
        "block_round": list(range(len(found))),
    }
