"""What an application will see: calls at its pace, beside busy neighbours, for minutes on end; each beside the number
that a benchmark would have printed. It must not print.

Both numbers of every pair come from the same process, in turns, so that the machine's mood meets both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.drift import drift_of, last_by_first
from edge_tl.device.bench.latency import BLOCK_SECONDS, WARMUP, Measured, header
from edge_tl.device.bench.percentiles import count_needed, summarize
from edge_tl.device.bench.schedule import KEPT, call_at_rate, rate_statistics, service_ns
from edge_tl.device.bench.sensors import SensorLog, sensor_summary
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bench.worker import REWARM, WARM_S
from edge_tl.device.bench.workers import Worker, WorkerPool, Workload
from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import ROOT, conditions

__all__ = ["call_at_rate", "time_paced", "time_sustained"]
ROUNDS = 3  # parts of a paced run, each in a fresh process
COUNT = 25  # calls of a back-to-back block, at least
# Beside a neighbour a block must outlast many of the scheduler's slices of some milliseconds: a short one runs between
# two of them and meets nobody. It holds enough calls for a p99, too, where those take no longer than `P99_S`.
LOADED_S, P99_S, MOST = 0.5, 5.0, 500_000
STRETCHES = 20  # of a long run, to test it for a trend
CHUNKS = 10  # of the first and the last minute: the rounds of their percentiles


class Mode:
    """What was measured in one condition: back-to-back blocks, runs at a pace, and the round of each."""

    def __init__(self) -> None:
        self.back_to_back = Measured()
        self.runs: list[dict[str, Any]] = []

    def block(self, worker: Worker, number: int, count: int) -> None:
        """A back-to-back block in round `number`."""
        self.back_to_back.count = self.back_to_back.count or count
        block = worker.ask(count=self.back_to_back.count, seconds=BLOCK_SECONDS)["samples_ns"]
        self.back_to_back.blocks.append(np.array(block, np.int64))
        self.back_to_back.rounds.append(number)

    def means(self) -> list[Samples]:
        """The mean of each block. A call of a small model that another process interrupts is rare and waits for
        milliseconds: the mean shows it, the median does not."""
        return [np.array([round(float(block.mean()))], np.int64) for block in self.back_to_back.blocks]

    def stored(self, kept: int) -> dict[str, Any]:
        """`{samples_ns, every}`: of blocks that hold more than `kept` calls, every so manyth call."""
        blocks = self.back_to_back.blocks
        every = -(-max(map(len, blocks)) // kept)
        return {"samples_ns": [block[::every].tolist() for block in blocks], "every": every}

    def paced(self, fps: float, deadline_ms: float | None) -> dict[str, Any]:
        """What `rate_statistics` says, the idle penalty (at the pace, by back to back), and the runs themselves."""
        rounds = self.back_to_back.rounds
        idle = ratio.speedup([service_ns(run) for run in self.runs], self.back_to_back.blocks, rounds)
        return {
            "fps": fps,
            **rate_statistics(self.runs, deadline_ms=deadline_ms, rounds=rounds),
            "idle_penalty": idle["speedup"],
            "idle_penalty_ci": idle["speedup_ci"],
            "runs": self.runs,
        }


def block_calls(call_ns: int, rounds: int, load: int) -> int:
    """How many calls a block holds if one takes `call_ns` without neighbours; the same with and without them."""
    if not load:
        return COUNT
    each = max(call_ns, 1)
    supporting = min(-(-count_needed(0.99) // rounds), int(P99_S * 1e9) // each)
    return min(max(COUNT, -(-int(LOADED_S * 1e9) // each), supporting), MOST)


def time_paced(
    field: Sequence[Workload],
    *,
    fps: float | None = None,
    seconds: float = 30.0,
    load: int = 0,
    deadline_ms: float | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Each workload at `fps` for `seconds` (in `rounds` parts, each in a fresh process) and back to back; with
    `load`, the same again beside so many busy neighbours, in an order drawn anew each round.

    Without `fps` the back-to-back blocks alone. The deadline is the period unless given.
    The keys are in docs/reference/bench.md.
    Raises `EdgeTLError` as `time_interleaved` does; no neighbour outlives it.
    """
    _check(fps, load)
    deadline = deadline_ms if deadline_ms is not None else 1e3 / fps if fps else None
    order, before, rows = random.Random(seed), conditions(), []
    kept = max(KEPT // (len(field) * rounds * (2 if load else 1)), COUNT)
    for index, workload in enumerate(field):
        modes = {0: Mode()} | ({load: Mode()} if load else {})
        for number in range(rounds):
            with WorkerPool() as pool:
                ready = pool.start(workload, warmup=WARMUP, describe=number == 0)
                modes[0].back_to_back.started(ready)
                worker, count = pool.alive[workload.id], block_calls(ready["call_ns"], rounds, load)
                for neighbours in order.sample(list(modes), len(modes)):
                    mode = modes[neighbours]
                    with CpuLoad(neighbours) if neighbours else nullcontext():
                        mode.block(worker, number, count)
                        if fps is not None:
                            paced = worker.ask(
                                fps=fps, seconds=seconds / rounds, deadline_ms=deadline, kept=kept
                            )
                            mode.runs.append(paced)
            listener.progress("latency", index * rounds + number + 1, len(field) * rounds)
        rows.append(_row(workload, modes, load, fps, deadline, kept))
    method = {
        "rounds": rounds,
        "blocks": 1,
        "count": COUNT,
        "warmup": WARMUP,
        "warmup_s": WARM_S,
        "rewarm": REWARM,
        "batch": 1,
    }
    asked = {"seed": seed, "fps": fps, "seconds": seconds if fps else None, "load": load}
    return header("pace", before, method | asked) | {"artifacts": rows, "skipped": []}


def time_sustained(
    workload: Workload,
    *,
    minutes: float,
    fps: float | None = None,
    load: int = 0,
    deadline_ms: float | None = None,
    root: Path = ROOT,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """One process for `minutes`, at `fps` or back to back: the first minute against the last (halves of a shorter
    run), with clock, temperature and throttling once a second. `root` is where the sensors' `sys` lies.
    """
    _check(fps, load)
    deadline = deadline_ms if deadline_ms is not None else 1e3 / fps if fps else None
    before, total = conditions(), minutes * 60
    quiet = Mode()
    modes = {0: quiet} | ({load: Mode()} if load else {})
    with WorkerPool() as pool:
        ready = pool.start(workload, warmup=WARMUP, describe=True)
        quiet.back_to_back.started(ready)
        worker, count = pool.alive[workload.id], block_calls(ready["call_ns"], 1, load)
        quiet.block(worker, 0, count)
        with (
            CpuLoad(load) if load else nullcontext(),
            SensorLog(
                root, tick=lambda t: listener.progress("latency", int(min(t, total)), int(total) or 1)
            ) as watch,
        ):
            if load:
                modes[load].block(worker, 0, count)
            run = worker.ask(fps=fps, seconds=total, deadline_ms=deadline)
    if fps:
        modes[load].runs.append(run)
    row = _row(workload, modes, load, fps, deadline, KEPT)
    window = min(60.0, total / 2)
    lasted = np.array_split(service_ns(run), STRETCHES)
    row |= drift_of(lasted, [0] * STRETCHES)
    row["sustained"] = {
        "minutes": minutes,
        "neighbours": load,
        "window_s": window,
        **first_and_last(run, total, window),
        "sensors": sensor_summary(watch.readings),
        "readings": watch.readings,
        "run": run,
    }
    method = {
        "rounds": 1,
        "blocks": 1,
        "count": COUNT,
        "warmup": WARMUP,
        "warmup_s": WARM_S,
        "rewarm": REWARM,
        "batch": 1,
    }
    asked = {"fps": fps, "minutes": minutes, "load": load}
    return header("pace", before, method | asked) | {"artifacts": [row], "skipped": []}


def first_and_last(run: dict[str, Any], total: float, window: float) -> dict[str, Any]:
    """`{first{}, last{}, change, change_ci, change_reason}` of the calls due in the first and in the last `window`
    seconds of `total`: latencies from the intended time, and how many times slower the median of the last is (see
    `last_by_first`, which is shown all the windows between).
    """
    served = len(run["start_ns"])
    intended = np.array(run["intended_ns"][:served], np.int64)
    due, latency = intended / 1e9, np.array(run["end_ns"], np.int64) - intended
    begins = np.linspace(0, total - window, max(2, int(total / window + 1e-9)))
    windows = [latency[(due >= begin) & (due < begin + window)] for begin in begins]
    shown = {}
    for name, begin, part in (("first", begins[0], windows[0]), ("last", begins[-1], windows[-1])):
        when = due[(due >= begin) & (due < begin + window)]
        shown[name] = summarize(part, ((when - begin) * CHUNKS / window).astype(int))
    medians = np.array([np.median(part) if len(part) else np.nan for part in windows])
    return shown | last_by_first(medians)


def _row(
    workload: Workload,
    modes: dict[int, Mode],
    load: int,
    fps: float | None,
    deadline: float | None,
    kept: int,
) -> dict[str, Any]:
    quiet = modes[0]
    row = quiet.back_to_back.row(workload.id) | quiet.stored(kept) | ratio.speedup([], [])
    if fps and quiet.runs:
        row["paced"] = quiet.paced(fps, deadline)
    if load:
        busy = modes[load].back_to_back
        slower = ratio.speedup(busy.blocks, quiet.back_to_back.blocks, busy.rounds)
        slower_mean = ratio.speedup(modes[load].means(), quiet.means(), busy.rounds)
        rounds = np.repeat(busy.rounds, [len(block) for block in busy.blocks])
        row["loaded"] = {
            "neighbours": load,
            "latency_ms": summarize(busy.samples, rounds),
            "slowdown": slower["speedup"],
            "slowdown_ci": slower["speedup_ci"],
            "slowdown_mean": slower_mean["speedup"],
            "slowdown_mean_ci": slower_mean["speedup_ci"],
            **modes[load].stored(kept),
        }
        if fps:
            row["loaded"]["paced"] = modes[load].paced(fps, deadline)
    return row


def _check(fps: float | None, load: int) -> None:
    if fps is not None and not 0 < fps <= 10_000:
        raise BadInput(f"--fps {fps:g}: give arrivals per second, more than 0 and at most 10000.")
    if load < 0:
        raise BadInput(f"--load {load}: give how many busy processes run beside, 0 or more.")
