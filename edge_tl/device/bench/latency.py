"""Latency of every artifact on this machine: fresh processes, interleaved blocks, nothing checked but the clock.

It must not judge accuracy, and it knows PyTorch only as a workload that the caller adds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.drift import drift_of
from edge_tl.device.bench.machine_use import cpu_usage
from edge_tl.device.bench.percentiles import count_needed, summarize
from edge_tl.device.bench.timer import Samples, time_calls
from edge_tl.device.bench.worker import REWARM, WARM_S, some_inputs
from edge_tl.device.bench.workers import WORKER, WorkerPool, Workload, reason
from edge_tl.device.bundle import REFERENCE, Artifact, Bundle
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import conditions, cores_allowed, identity
from edge_tl.device.runtimes.open import NullRuntime

WARMUP = 10
BLOCK_SECONDS = 20.0
BLOCK_MS, MOST = 20.0, 10  # a block of a small model holds more calls, up to ten times `count`
SCHEMA = "edge-tl bench 1"
AGAIN = " (again)"


@dataclass(frozen=True)
class Effort:
    """How much to measure: in each of `rounds`, a fresh process per workload and `blocks` of `count` calls, or of
    more where so few would be over in less than 20 ms."""

    rounds: int
    count: int
    blocks: int = 1

    def supporting(self, quantile: float) -> Effort:
        """At least as many calls as that percentile needs."""
        needed = -(-count_needed(quantile) // (self.rounds * self.blocks))
        return replace(self, count=max(self.count, needed))


QUICK = Effort(rounds=5, blocks=5, count=4)  # at least 100 calls: p50 and p90
THOROUGH = Effort(rounds=7, blocks=10, count=10)  # at least 700 calls: enough for a p99
NOISE = Effort(rounds=16, blocks=100, count=3)  # for a ratio near 1: many processes, many short blocks


def effort(
    *,
    quick: bool = False,
    noise: bool = False,
    rounds: int | None = None,
    blocks: int | None = None,
    count: int | None = None,
) -> Effort:
    """The effort that fits, with whatever is given in its place."""
    base = NOISE if noise and not quick else QUICK if quick else THOROUGH
    return Effort(rounds or base.rounds, count or base.count, blocks or base.blocks)


@dataclass
class Measured:
    """What one workload's processes answered: blocks in the order they were timed, and the round of each."""

    blocks: list[Samples] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    load_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    warmup_calls: list[int] = field(default_factory=list)
    count: int = 0
    ran: dict[str, Any] = field(default_factory=dict)

    def started(self, ready: dict[str, Any]) -> None:
        """A fresh process said that it is warm."""
        self.load_ns.append(ready["load_ns"])
        self.first_ns.append(ready["first_ns"])
        self.warmup_calls.append(ready["warmup_calls"])
        self.ran = ready.get("ran", self.ran)

    def calls(self, least: int, ready: dict[str, Any]) -> None:
        """How many calls a block holds, decided once: `least`, or as many as fill `BLOCK_MS`."""
        fill = min(-(-int(BLOCK_MS * 1e6) // max(ready["call_ns"], 1)), MOST * least)
        self.count = self.count or max(least, fill)

    @property
    def samples(self) -> Samples:
        return np.concatenate(self.blocks)

    def row(self, name: str) -> dict[str, Any]:
        """The result's entry, without a speed-up."""
        rounds = np.repeat(self.rounds, [len(block) for block in self.blocks])
        return {
            "id": name,
            "latency_ms": summarize(self.samples, rounds),
            **drift_of(self.blocks, self.rounds),
            "ran": self.ran,
            "load_ms": float(np.median(self.load_ns)) / 1e6,
            "first_ms": float(np.median(self.first_ns)) / 1e6,
            "warmup_calls": self.warmup_calls,
            "block_calls": self.count or None,
            "samples_ns": [block.tolist() for block in self.blocks],
            "block_round": self.rounds,
        }


def workloads(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    device: str = "CPU",
    allow_fallback: bool = False,
    threads: int | None = None,
    batch: int = 1,
) -> list[Workload]:
    """The bundle's artifacts as workloads, `batch` images a call, on every core allowed unless `threads`."""
    spec = {
        "device": device,
        "allow_fallback": allow_fallback,
        "shape": [batch, 3, *bundle.preprocess.input_size],
        "threads": threads or cores_allowed(),
    }
    return [
        Workload(a.id, WORKER, {"path": str(a.path), "precision": a.precision, **spec}) for a in artifacts
    ]


def startable(
    field: Sequence[Workload], *, most: int | None = None
) -> tuple[list[Workload], list[dict[str, str]]]:
    """Those that load and infer here, each tried in a process of its own before anything is timed, and `{artifact,
    reason}` for the others. With `most`, nobody is tried once so many can. Raises as `time_interleaved`."""
    found: list[Workload] = []
    skipped: list[dict[str, str]] = []
    failure: EdgeTLError | None = None
    for workload in field:
        if len(found) == most:
            break
        try:
            with WorkerPool() as pool:
                pool.start(workload, warmup=1, describe=True)
            found.append(workload)
        except FellBack:
            raise
        except EdgeTLError as error:
            failure = error
            skipped.append({"artifact": workload.id, "reason": reason(error)})
    if not found:
        raise failure or MissingExtra("a runtime for this bundle", "ort")
    return found, skipped


def twice(workload: Workload) -> list[Workload]:
    """The same thing under two names: whatever a bench finds between them is the noise of this machine."""
    return [workload, replace(workload, id=workload.id + AGAIN)]


def time_interleaved(
    field: Sequence[Workload],
    *,
    effort: Effort = THOROUGH,
    seed: int = 0,
    baseline: str | None = None,
    lenient: bool = False,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Time every workload in every round, in blocks whose order is drawn anew and then mirrored (A B B A), so that
    a drift of the machine meets both sides alike.

    Speed-ups are against `baseline`, else PyTorch where it runs, else the fastest FP32 workload; `baseline` says
    which. A workload whose runtime is missing is listed under `skipped`; where `lenient`, also one that does not
    load. Raises `EdgeTLError` when a worker process dies, when no artifact can run `MissingExtra` or what the last one
    said, and always `FellBack`. The keys are in docs/reference/bench.md.
    """
    found = {workload.id: Measured() for workload in field}
    skipped: list[dict[str, str]] = []
    failure: EdgeTLError | None = None
    order = random.Random(seed)
    before, used = conditions(), cpu_usage()
    for number in range(effort.rounds):
        racing = [c for c in field if c.id in found]
        with WorkerPool() as pool:
            for workload in order.sample(racing, len(racing)):
                try:
                    ready = pool.start(workload, warmup=WARMUP, describe=number == 0)
                except EdgeTLError as error:
                    if isinstance(error, FellBack) or not (lenient or isinstance(error, MissingExtra)):
                        raise
                    failure = error
                    skipped.append({"artifact": workload.id, "reason": reason(error)})
                    del found[workload.id]
                    continue
                found[workload.id].started(ready)
                found[workload.id].calls(effort.count, ready)
            if not found or (failure and all(name.startswith(REFERENCE) for name in found)):
                raise failure or MissingExtra("a runtime for this bundle", "ort")
            _level([c for c in racing if c.id in found], found)
            for done, names in enumerate(_orders(list(pool.alive), effort.blocks, order)):
                for name in names:
                    answer = pool.alive[name].ask(count=found[name].count, seconds=BLOCK_SECONDS)
                    found[name].blocks.append(np.array(answer["samples_ns"], np.int64))
                    found[name].rounds.append(number)
                listener.progress("latency", number * effort.blocks + done + 1, effort.rounds * effort.blocks)
    whole = [c.id for c in field if c.id in found and c.spec.get("precision") == "fp32"]
    base = baseline or _baseline(found, whole)
    rows = [
        mine.row(name) | ratio.speedup(found[base].blocks, mine.blocks, mine.rounds, seed=seed)
        for name, mine in found.items()
    ]
    method = asdict(effort) | {
        "warmup": WARMUP,
        "warmup_s": WARM_S,
        "rewarm": REWARM,
        "batch": 1,
        "seed": seed,
    }
    told = header("latency", before, method)
    told["conditions"]["during"] = used.until(now) if used and (now := cpu_usage()) else None
    return told | {"baseline": base, "artifacts": rows, "skipped": skipped}


def time_against_itself(
    workload: Workload, *, effort: Effort = NOISE, seed: int = 0, listener: Listener = SILENT
) -> dict[str, Any]:
    """A bench of something against itself, an A/A run: what it finds is the noise of this machine now.

    The result of `time_interleaved`, and `noise{ratio, ratio_ci, width, contains_one}`.
    """
    pair = twice(workload)
    result = time_interleaved(pair, effort=effort, seed=seed, baseline=workload.id, listener=listener)
    row = result["artifacts"][1]
    ends = row["speedup_ci"]
    result["noise"] = {
        "ratio": row["speedup"],
        "ratio_ci": ends,
        "width": ends[1] - ends[0] if ends else None,
        "contains_one": not row["distinguishable"] if ends else None,
    }
    return result | {"kind": "noise"}


def header(kind: str, before: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
    """What every result of a bench begins with; `kind` says what its artifacts hold besides latency."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": identity(),
        "conditions": {"before": before, "after": conditions()},
        "harness_floor_us": floor_us(),
        "method": method,
    }


def warnings(result: dict[str, Any]) -> list[str]:
    """A sentence for a person about everything in the result that ran elsewhere than asked; what a sweep or the
    throughput has to add to an artifact's own, under the name of the first row that says it."""
    rows = [(row["id"], row["id"], row) for row in result["artifacts"]]
    for row in result.get("sweep", ()):
        name = f"{row['artifact']}, batch {row['batch']}, {row['threads']} threads"
        rows.append((row["artifact"], name, row))
    rows += [(row["artifact"], f"{row['artifact']}, throughput", row) for row in result.get("throughput", ())]
    told: dict[tuple[str, str], str] = {}
    for artifact, name, row in rows:
        for note in row.get("ran", {}).get("notes", ()):
            told.setdefault((artifact, note), name)
    return [f"{name}: {note}" for (_, note), name in told.items()]


def floor_us() -> float:
    """What the timer and the seam themselves cost, in microseconds: the median call of a runtime that does nothing."""
    null, inputs = NullRuntime(10), some_inputs((1, 3, 8, 8))
    return float(np.median(time_calls(lambda: null(inputs), warmup=100, count=1000))) / 1e3


def _level(field: Sequence[Workload], found: dict[str, Measured]) -> None:
    """Blocks of one length for the same thing under two names: calls become faster along a block where whoever had the
    processors before still spins, so that the side with the longer blocks would look faster."""
    for workload in field:
        first = next(c for c in field if (c.module, c.spec) == (workload.module, workload.spec))
        found[workload.id].count = found[first.id].count


def _orders(names: list[str], blocks: int, order: random.Random) -> list[list[str]]:
    """An order for each block: drawn, then the same mirrored."""
    orders: list[list[str]] = []
    while len(orders) < blocks:
        drawn = order.sample(names, len(names))
        orders += [drawn, drawn[::-1]]
    return orders[:blocks]


def _baseline(found: dict[str, Measured], whole: list[str]) -> str:
    if REFERENCE in found:
        return REFERENCE
    return min(whole or found, key=lambda name: float(np.median(found[name].samples)))
