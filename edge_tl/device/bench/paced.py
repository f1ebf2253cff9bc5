"""What an application will see: calls at its rate, beside busy processes, for minutes on end; each beside the number
that a benchmark would have printed.

Both numbers of every pair come from the same process, in turns, so that what disturbs the machine meets both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.drift import drift_of, last_by_first
from edge_tl.device.bench.harness import Beginning, new_result
from edge_tl.device.bench.latency import WARMUP, Timings
from edge_tl.device.bench.percentiles import count_needed, summarize
from edge_tl.device.bench.schedule import KEPT, latency_ns, rate_statistics, service_ns
from edge_tl.device.bench.sensors import SensorLog, sensor_summary
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bench.worker import REWARM, WARM_S
from edge_tl.device.bench.workers import Worker, WorkerPool, Workload, run_at_rate, time_block
from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import ROOT
from edge_tl.device.records.bench import ArtifactTiming, BenchResult, MethodRecord, SpeedupRecord
from edge_tl.device.records.paced import (
    Blocks,
    ChangeRecord,
    LoadedRecord,
    PacedRecord,
    PacedRun,
    SustainedRecord,
)
from edge_tl.device.records.timing import LatencyRecord

ROUNDS = 3  # parts of a paced run, each in a fresh process
SECONDS = 30.0
COUNT = 25  # calls of a back-to-back block, at least
# Beside a busy process a block must outlast many of the scheduler's slices of some milliseconds: a short one runs
# between two of them and is not interrupted. It holds enough calls for a p99, too, where those take at most `P99_S`.
LOADED_S, P99_S, MOST = 0.5, 5.0, 500_000
STRETCHES = 20  # of a long run, to test it for a trend
CHUNKS = 10  # of the first and the last minute: the rounds of their percentiles


@dataclass(frozen=True)
class Arrivals:
    """How images arrive: `fps` a second (None: back to back), beside `load` busy processes. `deadline_ms` counts from
    the arrival; None is the time between two. Raises `BadInput` for a rate or a load that cannot be."""

    fps: float | None = None
    load: int = 0
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 10_000:
            raise BadInput(f"--fps {self.fps:g}: give arrivals per second, more than 0 and at most 10000.")
        if self.load < 0:
            raise BadInput(f"--load {self.load}: give how many busy processes run beside, 0 or more.")

    @property
    def due_ms(self) -> float | None:
        """The deadline in force; None without a rate."""
        if self.deadline_ms is not None:
            return self.deadline_ms
        return 1e3 / self.fps if self.fps else None


BACK_TO_BACK = Arrivals()


@dataclass
class Condition:
    """What was measured with one number of busy processes: back-to-back blocks, runs at a rate, and their rounds."""

    back_to_back: Timings = field(default_factory=Timings)
    runs: list[PacedRun] = field(default_factory=list)

    def block(self, worker: Worker, number: int, count: int) -> None:
        """A back-to-back block in round `number`."""
        self.back_to_back.count = self.back_to_back.count or count
        self.back_to_back.add(time_block(worker, self.back_to_back.count), number)

    def means(self) -> list[Samples]:
        """The mean of each block. A call of a small model that another process interrupts is rare and waits for
        milliseconds: the mean shows it, the median does not."""
        return [np.array([round(float(block.mean()))], np.int64) for block in self.back_to_back.blocks]

    def every(self, kept: int) -> int:
        """Of blocks that hold more than `kept` calls, every so manyth call is stored."""
        return -(-max(map(len, self.back_to_back.blocks)) // kept)

    def stored(self, kept: int) -> Blocks:
        """The calls that are stored of each block."""
        every = self.every(kept)
        return tuple(tuple(block[::every].tolist()) for block in self.back_to_back.blocks)

    def paced(self, arrivals: Arrivals) -> PacedRecord:
        """The statistics of the runs, the idle penalty (at the rate, by back to back), and the runs themselves."""
        assert arrivals.fps is not None
        rounds = self.back_to_back.rounds
        idle = ratio.speedup([service_ns(run) for run in self.runs], self.back_to_back.blocks, rounds)
        found = rate_statistics(self.runs, deadline_ms=arrivals.due_ms, rounds=rounds)
        return PacedRecord(
            fps=arrivals.fps,
            n=found.n,
            latency_ms=found.latency_ms,
            service_ms=found.service_ms,
            queue_ms=found.queue_ms,
            deadline_ms=found.deadline_ms,
            missed=found.missed,
            unserved=found.unserved,
            idle_penalty=idle.speedup,
            idle_penalty_ci=idle.speedup_ci,
            runs=tuple(self.runs),
        )


def block_calls(call_ns: int, rounds: int, load: int) -> int:
    """How many calls a block holds if one takes `call_ns` on the quiet machine; the same with and without load."""
    if not load:
        return COUNT
    each = max(call_ns, 1)
    supporting = min(-(-count_needed(0.99) // rounds), int(P99_S * 1e9) // each)
    return min(max(COUNT, -(-int(LOADED_S * 1e9) // each), supporting), MOST)


def time_paced(
    workloads: Sequence[Workload],
    arrivals: Arrivals = BACK_TO_BACK,
    *,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    seed: int = 0,
    listener: Listener = SILENT,
) -> BenchResult:
    """Each workload at its rate for `seconds` (in `rounds` parts, each in a fresh process) and back to back; with a
    load, the same again beside it, in an order drawn anew each round.

    Without a rate the back-to-back blocks alone. The keys are in docs/reference/bench.md. Raises `EdgeTLError` as
    `time_interleaved` does; no busy process outlives it.
    """
    order, begun, rows = random.Random(seed), Beginning(), []
    load = arrivals.load
    kept = max(KEPT // (len(workloads) * rounds * (2 if load else 1)), COUNT)
    for index, workload in enumerate(workloads):
        conditions = _conditions(load)
        for number in range(rounds):
            with WorkerPool() as pool:
                ready = pool.start(workload, warmup=WARMUP, describe=number == 0)
                conditions[0].back_to_back.ready.append(ready)
                worker, count = pool.alive[workload.id], block_calls(ready.call_ns, rounds, load)
                for busy in order.sample(list(conditions), len(conditions)):
                    with CpuLoad(busy) if busy else nullcontext():
                        conditions[busy].block(worker, number, count)
                        if arrivals.fps is not None:
                            part = seconds / rounds
                            conditions[busy].runs.append(
                                run_at_rate(worker, arrivals.fps, part, arrivals.due_ms, kept)
                            )
            listener.progress("latency", index * rounds + number + 1, len(workloads) * rounds)
        rows.append(_timing(workload, conditions, arrivals, kept))
    method = replace(_method(rounds, arrivals), seed=seed, seconds=seconds if arrivals.fps else None)
    return new_result("pace", begun, method, rows)


def time_sustained(
    workload: Workload,
    arrivals: Arrivals = BACK_TO_BACK,
    *,
    minutes: float,
    root: Path = ROOT,
    listener: Listener = SILENT,
) -> BenchResult:
    """One process for `minutes`, at its rate or back to back: the first minute against the last (halves of a shorter
    run), with clock, temperature and throttling once a second. `root` is where the sensors' `sys` lies.
    """
    begun, total, load = Beginning(), minutes * 60, arrivals.load
    conditions = _conditions(load)
    with WorkerPool() as pool:
        ready = pool.start(workload, warmup=WARMUP, describe=True)
        conditions[0].back_to_back.ready.append(ready)
        worker, count = pool.alive[workload.id], block_calls(ready.call_ns, 1, load)
        conditions[0].block(worker, 0, count)
        with (
            CpuLoad(load) if load else nullcontext(),
            SensorLog(
                root, tick=lambda t: listener.progress("latency", int(min(t, total)), int(total) or 1)
            ) as log,
        ):
            if load:
                conditions[load].block(worker, 0, count)
            run = run_at_rate(worker, arrivals.fps, total, arrivals.due_ms)
    if arrivals.fps:
        conditions[load].runs.append(run)
    window = min(60.0, total / 2)
    first, last, change = first_and_last(run, total, window)
    drift = drift_of(np.array_split(service_ns(run), STRETCHES), [0] * STRETCHES)
    sustained = SustainedRecord(
        minutes=minutes,
        load=load,
        window_s=window,
        first=first,
        last=last,
        change=change.change,
        change_ci=change.change_ci,
        change_reason=change.change_reason,
        sensors=sensor_summary(log.readings),
        readings=tuple(log.readings),
        run=run,
    )
    row = replace(
        _timing(workload, conditions, arrivals, KEPT),
        steady=drift.steady,
        within_process=drift.within_process,
        across_run=drift.across_run,
        sustained=sustained,
    )
    return new_result("pace", begun, replace(_method(1, arrivals), minutes=minutes), [row])


def first_and_last(
    run: PacedRun, total: float, window: float
) -> tuple[LatencyRecord, LatencyRecord, ChangeRecord]:
    """Of the calls due in the first and in the last `window` seconds of `total`: latencies from the intended time, and
    how many times slower the median of the last is (see `last_by_first`, which is shown all the windows between).
    """
    due_ns, latency = latency_ns(run)
    due = due_ns / 1e9
    begins = np.linspace(0, total - window, max(2, int(total / window + 1e-9)))
    inside = [(due >= begin) & (due < begin + window) for begin in begins]
    first, last = (
        summarize(latency[inside[at]], ((due[inside[at]] - begins[at]) * CHUNKS / window).astype(int))
        for at in (0, -1)
    )
    medians = [np.median(latency[which]) if which.any() else np.nan for which in inside]
    return first, last, last_by_first(np.array(medians))


def _conditions(load: int) -> dict[int, Condition]:
    return {0: Condition()} | ({load: Condition()} if load else {})


def _method(rounds: int, arrivals: Arrivals) -> MethodRecord:
    return MethodRecord(
        rounds=rounds,
        blocks=1,
        count=COUNT,
        warmup=WARMUP,
        warmup_s=WARM_S,
        rewarm=REWARM,
        batch=1,
        fps=arrivals.fps,
        load=arrivals.load,
    )


def _timing(
    workload: Workload, conditions: dict[int, Condition], arrivals: Arrivals, kept: int
) -> ArtifactTiming:
    quiet = conditions[0]
    return replace(
        quiet.back_to_back.timing(workload.id, SpeedupRecord()),
        samples_ns=quiet.stored(kept),
        every=quiet.every(kept),
        paced=quiet.paced(arrivals) if arrivals.fps and quiet.runs else None,
        loaded=_loaded(conditions, arrivals, kept) if arrivals.load else None,
    )


def _loaded(conditions: dict[int, Condition], arrivals: Arrivals, kept: int) -> LoadedRecord:
    """What was measured beside the load, against the same on the quiet machine."""
    quiet, loaded = conditions[0], conditions[arrivals.load]
    blocks, rounds = loaded.back_to_back.blocks, loaded.back_to_back.rounds
    slower = ratio.speedup(blocks, quiet.back_to_back.blocks, rounds)
    slower_mean = ratio.speedup(loaded.means(), quiet.means(), rounds)
    names = np.repeat(rounds, [len(block) for block in blocks])
    return LoadedRecord(
        load=arrivals.load,
        latency_ms=summarize(loaded.back_to_back.samples, names),
        slowdown=slower.speedup,
        slowdown_ci=slower.speedup_ci,
        slowdown_mean=slower_mean.speedup,
        slowdown_mean_ci=slower_mean.speedup_ci,
        samples_ns=loaded.stored(kept),
        every=loaded.every(kept),
        paced=loaded.paced(arrivals) if arrivals.fps else None,
    )
