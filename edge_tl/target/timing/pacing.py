"""What an application will see: calls at its pace, beside busy neighbours, for minutes on end; each beside the number
that a benchmark would have printed. It must not print.

Both numbers of every pair come from the same process, in turns, so that the machine's mood meets both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.target.errors import BadInput
from edge_tl.target.machine import ROOT, conditions
from edge_tl.target.progress import Progress, no_progress
from edge_tl.target.timing import ratio
from edge_tl.target.timing.bench import BLOCK_SECONDS, WARMUP, Measured, header
from edge_tl.target.timing.calls import Samples
from edge_tl.target.timing.child import REWARM, WARM_S
from edge_tl.target.timing.children import Child, Children, Contestant
from edge_tl.target.timing.neighbours import Neighbours
from edge_tl.target.timing.pace import at_pace, judged, service_ns
from edge_tl.target.timing.percentiles import summarize
from edge_tl.target.timing.sensors import Watch, summary
from edge_tl.target.timing.steady import steadiness

__all__ = ["at_pace", "pace", "sustained"]
ROUNDS = 3  # parts of a paced run, each in a fresh process
COUNT = 25  # calls of a back-to-back block
STRETCHES = 20  # of a long run, to test it for a trend
CHUNKS = 10  # of the first and the last minute: the rounds of their ratio


class Mode:
    """What was measured in one condition: back-to-back blocks, runs at a pace, and the round of each."""

    def __init__(self) -> None:
        self.back_to_back = Measured()
        self.runs: list[dict[str, list[int]]] = []

    def measure(self, child: Child, number: int, fps: float | None, seconds: float) -> None:
        block = child.ask(count=COUNT, seconds=BLOCK_SECONDS)["samples_ns"]
        self.back_to_back.blocks.append(np.array(block, np.int64))
        self.back_to_back.rounds.append(number)
        if fps is not None:
            self.runs.append(child.ask(fps=fps, seconds=seconds))

    def paced(self, fps: float, deadline_ms: float | None) -> dict[str, Any]:
        """What `judged` says, the idle penalty (at the pace, by back to back), and the runs themselves."""
        rounds = self.back_to_back.rounds
        idle = ratio.speedup([service_ns(run) for run in self.runs], self.back_to_back.blocks, rounds)
        return {
            "fps": fps,
            **judged(self.runs, deadline_ms=deadline_ms, rounds=rounds),
            "idle_penalty": idle["speedup"],
            "idle_penalty_ci": idle["speedup_ci"],
            "runs": self.runs,
        }


def pace(
    field: Sequence[Contestant],
    *,
    fps: float | None = None,
    seconds: float = 30.0,
    load: int = 0,
    deadline_ms: float | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Each contestant at `fps` for `seconds` (in `rounds` parts, each in a fresh process) and back to back; with
    `load`, the same again beside so many busy neighbours, in an order drawn anew each round.

    Without `fps` the back-to-back blocks alone. The deadline is the period unless given. The keys are in docs/bench.md.
    Raises `EdgeTLError` as `bench` does; no neighbour outlives it.
    """
    _check(fps, load)
    deadline = deadline_ms if deadline_ms is not None else 1e3 / fps if fps else None
    order, before, rows = random.Random(seed), conditions(), []
    for index, contestant in enumerate(field):
        modes = {0: Mode()} | ({load: Mode()} if load else {})
        for number in range(rounds):
            with Children() as children:
                ready = children.start(contestant, warmup=WARMUP, describe=number == 0)
                modes[0].back_to_back.started(ready)
                for neighbours in order.sample(list(modes), len(modes)):
                    with Neighbours(neighbours) if neighbours else nullcontext():
                        modes[neighbours].measure(
                            children.alive[contestant.id], number, fps, seconds / rounds
                        )
            progress("latency", index * rounds + number + 1, len(field) * rounds)
        rows.append(_row(contestant, modes, load, fps, deadline))
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


def sustained(
    contestant: Contestant,
    *,
    minutes: float,
    fps: float | None = None,
    load: int = 0,
    deadline_ms: float | None = None,
    root: Path = ROOT,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """One process for `minutes`, at `fps` or back to back: the first minute against the last (halves of a shorter
    run), with clock, temperature and throttling once a second. `root` is where the sensors' `sys` lies.
    """
    _check(fps, load)
    before, total = conditions(), minutes * 60
    quiet = Mode()
    modes = {0: quiet} | ({load: Mode()} if load else {})
    with Children() as children:
        ready = children.start(contestant, warmup=WARMUP, describe=True)
        quiet.back_to_back.started(ready)
        child = children.alive[contestant.id]
        quiet.measure(child, 0, None, 0)
        with (
            Neighbours(load) if load else nullcontext(),
            Watch(root, tick=lambda t: progress("latency", int(min(t, total)), int(total) or 1)) as watch,
        ):
            if load:
                modes[load].measure(child, 0, None, 0)
            run = child.ask(fps=fps, seconds=total)
    if fps:
        modes[load].runs.append(run)
    row = _row(contestant, modes, load, fps, deadline_ms if deadline_ms is not None else 1e3 / (fps or 1))
    window = min(60.0, total / 2)
    lasted = np.array_split(service_ns(run), STRETCHES)
    row |= steadiness(lasted, [0] * STRETCHES)
    row["sustained"] = {
        "minutes": minutes,
        "neighbours": load,
        "window_s": window,
        **first_and_last(run, total, window),
        "sensors": summary(watch.readings),
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


def first_and_last(run: dict[str, list[int]], total: float, window: float) -> dict[str, Any]:
    """`{first{}, last{}, change, change_ci}` of the calls due in the first and in the last `window` seconds of
    `total`: latencies from the intended time, and how many times slower the last are.

    The interval takes tenths of a window as rounds: what lasts for less than that is noise to it.
    """
    served = len(run["start_ns"])
    due = np.array(run["intended_ns"][:served], np.int64) / 1e9
    latency: Samples = np.array(run["end_ns"], np.int64) - np.array(run["intended_ns"][:served], np.int64)
    parts = []
    for begin in (0.0, total - window):
        edges = begin + window * np.arange(CHUNKS + 1) / CHUNKS
        parts.append([latency[(due >= a) & (due < b)] for a, b in pairwise(edges)])
    chunks = [[[chunk] for chunk in part if len(chunk)] for part in parts]
    found = ratio.unpaired(chunks[1], chunks[0])
    first, last = (np.concatenate(part) for part in parts)
    rounds = [np.repeat(np.arange(CHUNKS), [len(chunk) for chunk in part]) for part in parts]
    return {
        "first": summarize(first, rounds[0]),
        "last": summarize(last, rounds[1]),
        "change": found["speedup"],
        "change_ci": found["speedup_ci"],
    }


def _row(
    contestant: Contestant, modes: dict[int, Mode], load: int, fps: float | None, deadline: float | None
) -> dict[str, Any]:
    quiet = modes[0]
    row = quiet.back_to_back.row(contestant.id) | ratio.speedup([], [])
    if fps and quiet.runs:
        row["paced"] = quiet.paced(fps, deadline)
    if load:
        busy = modes[load].back_to_back
        slower = ratio.speedup(busy.blocks, quiet.back_to_back.blocks, busy.rounds)
        rounds = np.repeat(busy.rounds, [len(block) for block in busy.blocks])
        row["loaded"] = {
            "neighbours": load,
            "latency_ms": summarize(busy.samples, rounds),
            "slowdown": slower["speedup"],
            "slowdown_ci": slower["speedup_ci"],
            "samples_ns": [block.tolist() for block in busy.blocks],
        }
        if fps:
            row["loaded"]["paced"] = modes[load].paced(fps, deadline)
    return row


def _check(fps: float | None, load: int) -> None:
    if fps is not None and not 0 < fps <= 10_000:
        raise BadInput(f"--fps {fps:g}: give arrivals per second, more than 0 and at most 10000.")
    if load < 0:
        raise BadInput(f"--load {load}: give how many busy processes run beside, 0 or more.")
