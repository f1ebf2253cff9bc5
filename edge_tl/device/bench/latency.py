"""Latency of every artifact on this machine: fresh processes, interleaved blocks.

Checks no answer. Knows PyTorch only as a workload that the caller adds.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.drift import drift_of
from edge_tl.device.bench.effort import NOISE, THOROUGH, Effort
from edge_tl.device.bench.harness import Beginning, new_result
from edge_tl.device.bench.machine_use import as_proven, busy_reason
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bench.worker import REWARM, WARM_S
from edge_tl.device.bench.worker_messages import Ready
from edge_tl.device.bench.workers import Worker, WorkerPool, Workload, kill, launch, reason, time_block
from edge_tl.device.bench.workloads import twice
from edge_tl.device.bundle import REFERENCE
from edge_tl.device.errors import EdgeTLError, FellBack, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.bench import (
    ArtifactTiming,
    BenchResult,
    MethodRecord,
    NoiseRecord,
    SpeedupRecord,
)
from edge_tl.device.records.timing import Interval, RanRecord, SkippedRecord

WARMUP = 10
AHEAD = 2  # rounds whose slow imports are done at once: each takes a few hundred megabytes that then lie idle
BLOCK_MS, MOST = 20.0, 10  # a block of a small model holds more calls, up to ten times `count`


@dataclass
class Timings:
    """What the processes of one workload answered: blocks in the order they were timed, and the round of each."""

    blocks: list[Samples] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    count: int = 0

    @property
    def ran(self) -> RanRecord:
        """What ran, as the last process described it."""
        return next(each.ran for each in reversed(self.ready) if each.ran)

    def set_count(self, least: int, ready: Ready) -> None:
        """How many calls a block holds, decided once: `least`, or as many as fill `BLOCK_MS`."""
        fill = min(-(-int(BLOCK_MS * 1e6) // max(ready.call_ns, 1)), MOST * least)
        self.count = self.count or max(least, fill)

    def add(self, block: Samples, number: int) -> None:
        """A block of round `number`."""
        self.blocks.append(block)
        self.rounds.append(number)

    @property
    def samples(self) -> Samples:
        return np.concatenate(self.blocks)

    def timing(self, name: str, speedup: SpeedupRecord) -> ArtifactTiming:
        """The artifact's entry in a result."""
        rounds = np.repeat(self.rounds, [len(block) for block in self.blocks])
        drift = drift_of(self.blocks, self.rounds)
        return ArtifactTiming(
            id=name,
            latency_ms=summarize(self.samples, rounds),
            speedup=speedup.speedup,
            speedup_ci=speedup.speedup_ci,
            distinguishable=speedup.distinguishable,
            not_judged=speedup.not_judged,
            steady=drift.steady,
            within_process=drift.within_process,
            across_run=drift.across_run,
            ran=self.ran,
            load_ms=float(np.median([each.load_ns for each in self.ready])) / 1e6,
            first_ms=float(np.median([each.first_ns for each in self.ready])) / 1e6,
            warmup_calls=tuple(each.warmup_calls for each in self.ready),
            block_calls=self.count or None,
            samples_ns=tuple(tuple(block.tolist()) for block in self.blocks),
            block_round=tuple(self.rounds),
        )


@dataclass
class Interleaving:
    """The rounds of one bench, as they are timed; `effort` and `timings` may change between two. `warmup` is the calls
    of a fresh process that do not count, `waiting` the processes that have imported, of this round and the next. Raises
    as `time_interleaved`."""

    workloads: Sequence[Workload]
    effort: Effort
    order: random.Random
    lenient: bool
    timings: dict[str, Timings]
    skipped: list[SkippedRecord] = field(default_factory=list)
    failure: EdgeTLError | None = None
    warmup: int = WARMUP
    waiting: dict[str, list[Worker]] = field(default_factory=dict)

    def time_round(self, number: int, listener: Listener) -> None:
        """A fresh process of each workload, then blocks in turns."""
        try:
            self._time_round(number, listener)
        except BaseException:
            kill(itertools.chain(*self.waiting.values()))
            self.waiting.clear()
            raise

    def _time_round(self, number: int, listener: Listener) -> None:
        left = [workload for workload in self.workloads if workload.id in self.timings]
        blocks = self.effort.blocks
        self._launch(left, number)
        with WorkerPool() as pool:
            for workload in self.order.sample(left, len(left)):
                self._start(pool, workload, describe=number == 0)
            if not self.timings or (
                self.failure and all(name.startswith(REFERENCE) for name in self.timings)
            ):
                raise self.failure or MissingExtra("a runtime for this bundle", "ort")
            self._same_length([workload for workload in left if workload.id in self.timings])
            for done, names in enumerate(_orders(list(pool.alive), blocks, self.order)):
                for name in names:
                    timings = self.timings[name]
                    timings.add(time_block(pool.alive[name], timings.count), number)
                listener.progress("latency", number * blocks + done + 1, self.effort.rounds * blocks)

    def _launch(self, workloads: Sequence[Workload], number: int) -> None:
        """Before anything of round `number` is timed: its processes, which import side by side; of those that take
        seconds for it also the next round's, where there is a core for them."""
        for gone in self.waiting.keys() - {workload.id for workload in workloads}:
            kill(self.waiting.pop(gone))
        missing = [workload for workload in workloads if not self.waiting.get(workload.id)]
        left = self.effort.rounds - number
        later = left if left == AHEAD + 1 else AHEAD  # the last one alone would import on one core
        later = min(later, left) if cores_allowed() > 1 else 1
        self.waiting |= launch(
            {each.id: (each, later if each.slow_start else 1) for each in missing},
            warmup=self.warmup,
            describe=number == 0,
        )

    def _start(self, pool: WorkerPool, workload: Workload, *, describe: bool) -> None:
        waiting = self.waiting.get(workload.id)
        try:
            # What could not wait is started anew, and says why.
            ready = (
                pool.go_on(waiting.pop(0))
                if waiting
                else pool.start(workload, warmup=self.warmup, describe=describe)
            )
        except EdgeTLError as error:
            if isinstance(error, FellBack) or not (self.lenient or isinstance(error, MissingExtra)):
                raise
            kill(self.waiting.pop(workload.id, []))
            self.failure = error
            self.skipped.append(SkippedRecord(artifact=workload.id, reason=reason(error)))
            del self.timings[workload.id]
            return
        self.timings[workload.id].ready.append(ready)
        self.timings[workload.id].set_count(self.effort.count, ready)

    def _same_length(self, workloads: Sequence[Workload]) -> None:
        """Blocks of one length for the same thing under two names: calls become faster along a block where the
        process that had the processors before still spins: the side with the longer blocks would look faster."""
        for workload in workloads:
            first = next(w for w in workloads if (w.module, w.spec) == (workload.module, workload.spec))
            self.timings[workload.id].count = self.timings[first.id].count


def time_interleaved(
    workloads: Sequence[Workload],
    *,
    effort: Effort = THOROUGH,
    seed: int = 0,
    baseline: str | None = None,
    lenient: bool = False,
    listener: Listener = SILENT,
) -> BenchResult:
    """Time every workload in every round, in blocks whose order is drawn anew and then mirrored (A B B A), so that
    a drift of the machine meets both sides alike.

    Speed-ups are against `baseline`, else PyTorch where it runs, else the fastest FP32 workload; `baseline` says
    which. One that says nothing of this machine, because others kept it busy or its interval is wide, is `not_judged`
    and no figure. A workload whose runtime is missing is listed under `skipped`; where `lenient`, also one that does
    not load. Raises `EdgeTLError` when a worker process dies, when no artifact can run `MissingExtra` or what the last
    one raised, and always `FellBack`. The keys are in docs/reference/bench.md.
    """
    timings = {workload.id: Timings() for workload in workloads}
    rounds = Interleaving(workloads, effort, random.Random(seed), lenient, timings)
    begun = Beginning()
    for number in range(effort.rounds):
        rounds.time_round(number, listener)
    method = MethodRecord(
        rounds=effort.rounds,
        blocks=effort.blocks,
        count=effort.count,
        warmup=WARMUP,
        warmup_s=WARM_S,
        rewarm=REWARM,
        batch=1,
        seed=seed,
    )
    result = new_result("latency", begun, method, (), rounds.skipped)
    assert result.conditions is not None
    conditions = replace(result.conditions, against_itself_ci=_least_steady(timings, seed))
    busy = busy_reason(conditions, result.machine.cores_allowed)
    fp32 = [w.id for w in workloads if w.id in timings and w.spec.get("precision") == "fp32"]
    base = baseline or _baseline(timings, fp32)
    rows = []
    for name, mine in timings.items():
        found = ratio.speedup(timings[base].blocks, mine.blocks, mine.rounds, seed=seed)
        rows.append(mine.timing(name, found if name == base else as_proven(found, busy)))
    return replace(result, baseline=base, conditions=conditions, artifacts=tuple(rows))


def time_against_itself(
    workload: Workload, *, effort: Effort = NOISE, seed: int = 0, listener: Listener = SILENT
) -> BenchResult:
    """A bench of something against itself, an A/A run: what it finds is the noise of this machine now (`noise`)."""
    result = time_interleaved(
        twice(workload), effort=effort, seed=seed, baseline=workload.id, listener=listener
    )
    first, again = ([np.array(block, np.int64) for block in row.samples_ns] for row in result.artifacts)
    # Not the row's, which a busy machine has none of: how noisy that is was asked.
    found = ratio.speedup(first, again, result.artifacts[1].block_round, seed=seed)
    ends = found.speedup_ci
    noise = NoiseRecord(
        ratio=found.speedup,
        ratio_ci=ends,
        width=ends[1] - ends[0] if ends else None,
        contains_one=not found.distinguishable if ends else None,
    )
    return replace(result, kind="noise", noise=noise)


def _least_steady(timings: Mapping[str, Timings], seed: int) -> Interval | None:
    """The widest of the intervals of each workload against itself."""
    found = [ratio.against_itself(mine.blocks, mine.rounds, seed=seed) for mine in timings.values()]
    return max((ends for ends in found if ends), key=lambda ends: ends[1] / ends[0], default=None)


def _orders(names: list[str], blocks: int, order: random.Random) -> list[list[str]]:
    """An order for each block: drawn, then the same mirrored."""
    orders: list[list[str]] = []
    while len(orders) < blocks:
        drawn = order.sample(names, len(names))
        orders += [drawn, drawn[::-1]]
    return orders[:blocks]


def _baseline(timings: dict[str, Timings], fp32: list[str]) -> str:
    if REFERENCE in timings:
        return REFERENCE
    return min(fp32 or timings, key=lambda name: float(np.median(timings[name].samples)))
