"""Latency of every artifact on this machine: fresh processes, rounds in random order, nothing checked but the clock.

It must not judge accuracy, and it knows PyTorch only as a command line that the caller adds.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_tl.target import latency
from edge_tl.target.bundle import REFERENCE, Artifact, Bundle
from edge_tl.target.errors import BadInput, EdgeTLError, MissingExtra
from edge_tl.target.machine import conditions, cores_allowed, identity
from edge_tl.target.progress import Progress, no_progress

WARMUP = 10
BLOCK_SECONDS = 20.0


@dataclass(frozen=True)
class Contestant:
    """Something to time: a module that prints a block (see `bench_child`), and what to tell it."""

    id: str
    module: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much to measure: `rounds` blocks of `count` calls for each contestant."""

    rounds: int
    count: int


QUICK = Effort(rounds=4, count=25)  # 100 calls: p50 and p90
THOROUGH = Effort(rounds=5, count=140)  # 700 calls: enough for a p99


def contestants(
    bundle: Bundle, artifacts: Sequence[Artifact], *, device: str = "CPU", allow_fallback: bool = False
) -> list[Contestant]:
    """The bundle's artifacts as contestants, one image a call."""
    shape = [1, 3, *bundle.preprocess.input_size]
    return [
        Contestant(
            artifact.id,
            "edge_tl.target.bench_child",
            {
                "path": str(artifact.path),
                "device": device,
                "allow_fallback": allow_fallback,
                "shape": shape,
                "threads": cores_allowed(),
            },
        )
        for artifact in artifacts
    ]


def bench(
    field: Sequence[Contestant],
    *,
    effort: Effort = THOROUGH,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Time every contestant in every round, in an order drawn anew each round.

    Speed-ups are against PyTorch where it runs, else against the fastest FP32 contestant; `baseline` says
    which. A contestant whose runtime is missing is listed under `skipped`. Raises `EdgeTLError` when a child
    process dies, `MissingExtra` when no contestant can run.
    """
    blocks: dict[str, list[latency.Samples]] = {c.id: [] for c in field}
    details: dict[str, dict[str, Any]] = {}
    skipped: list[dict[str, str]] = []
    order = random.Random(seed)
    before, done = conditions(), 0
    for round_number in range(effort.rounds):
        racing = [c for c in field if c.id in blocks]
        for contestant in order.sample(racing, len(racing)):
            try:
                block = _run(contestant, effort, describe=round_number == 0)
            except MissingExtra as error:
                skipped.append({"artifact": contestant.id, "reason": str(error)})
                del blocks[contestant.id]
                continue
            blocks[contestant.id].append(np.array(block["samples_ns"], np.int64))
            detail = details.setdefault(contestant.id, {"load_ns": [], "first_ns": []})
            detail["load_ns"].append(block["load_ns"])
            detail["first_ns"].append(block["first_ns"])
            if "ran" in block:
                detail["ran"] = block["ran"]
            done += 1
            progress("latency", done, effort.rounds * len(blocks))
    if not blocks:
        raise MissingExtra("a runtime for this bundle", "ort")
    baseline = _baseline(blocks, details)
    rows = []
    for name, parts in blocks.items():
        detail = details[name]
        rows.append(
            {
                "id": name,
                "latency_ms": latency.summarize(np.concatenate(parts)),
                **latency.speedup(blocks[baseline], parts, seed=seed),
                "ran": detail["ran"],
                "load_ms": float(np.median(detail["load_ns"])) / 1e6,
                "first_ms": float(np.median(detail["first_ns"])) / 1e6,
                "samples_ns": [part.tolist() for part in parts],
            }
        )
    return {
        "machine": identity(),
        "conditions": {"before": before, "after": conditions()},
        "baseline": baseline,
        "method": {
            "rounds": effort.rounds,
            "count": effort.count,
            "warmup": WARMUP,
            "batch": 1,
            "seed": seed,
        },
        "artifacts": rows,
        "skipped": skipped,
    }


def _run(contestant: Contestant, effort: Effort, *, describe: bool) -> dict[str, Any]:
    spec = contestant.spec | {
        "warmup": WARMUP,
        "count": effort.count,
        "seconds": BLOCK_SECONDS,
        "describe": describe,
    }
    command = [sys.executable, "-m", contestant.module, json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if "MissingExtra" in last:
            raise MissingExtra(
                f"the runtime of {contestant.id}", contestant.id.split("-")[0].replace("onnx", "ort")
            )
        if "FellBack: " in last:
            raise BadInput(f"{contestant.id}: {last.partition('FellBack: ')[2]}")
        raise EdgeTLError(
            f"bench: {contestant.id} could not run: {last}. Try `edge-tl verify` on the bundle."
        )
    try:
        # Libraries print banners; the block is the last line.
        block: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise EdgeTLError(
            f"bench: {contestant.id} printed no result. Try `edge-tl verify` on the bundle."
        ) from None
    return block


def _baseline(blocks: dict[str, list[latency.Samples]], details: dict[str, dict[str, Any]]) -> str:
    if REFERENCE in blocks:
        return REFERENCE
    full = [name for name in blocks if details[name]["ran"]["precision"] != "int8"] or list(blocks)
    return min(full, key=lambda name: float(np.median(np.concatenate(blocks[name]))))
