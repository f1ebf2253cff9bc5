"""Time the configurations against each other, in fresh processes and in turns, and drop early what is clearly worse.

First a screening of one process each: every artifact on all cores, then other numbers of threads for those that came
near. What is left is timed in rounds until one is provably best, or the time is up. Chooses nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.breakdown import WORKER as STEPS_WORKER
from edge_tl.device.bench.breakdown import once
from edge_tl.device.bench.breakdown_worker import StepsAnswer, ThroughputAnswer
from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import Interleaving, Timings
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bench.workers import reason
from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import EdgeTLError, FellBack
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bench import SpeedupRecord
from edge_tl.device.records.timing import LatencyRecord, RanRecord, SkippedRecord
from edge_tl.device.tuning.configurations import Configuration, Qualified
from edge_tl.device.tuning.options import TuneOptions

WARM_CALLS = 3  # and 0.3 s at least: a slow machine does not wait for ten
SCREENING = Effort(rounds=1, count=2, blocks=4)
SHORTLIST = Effort(rounds=7, count=2, blocks=12)  # rounds at most
LEAST_ROUNDS = ratio.LEAST_ROUNDS  # fewer have no interval
# Times the fastest: beyond, one process is enough to tell; where the tail counts, later.
NEAR, NEAR_TAIL = 1.4, 2.0
MOST_SHORTLISTED = 5
STREAM_S = 0.7
TIMED_SHARE = 1 / 8  # of the budget, that the calls of one round may take; starting processes takes the rest
PATIENCE = 4.0  # times the budget: a machine so slow gets fewer rounds than an interval needs


@dataclass
class Entry:
    """What was measured of a configuration: latencies, and the objective's own number of each process where that is
    another (nanoseconds an image, or bytes). `shortlisted`: beside the rest of the shortlist, the first of their rounds
    and those after it; otherwise in the screening alone."""

    configuration: Configuration
    timings: Timings
    ran: RanRecord
    costs: list[float] = field(default_factory=list)
    shortlisted: bool = False

    @property
    def latency(self) -> LatencyRecord:
        """Percentiles and their intervals."""
        rounds = np.repeat(self.timings.rounds, [len(block) for block in self.timings.blocks])
        return summarize(self.timings.samples, rounds)

    @property
    def cost(self) -> float:
        """What the objective wants small."""
        return float(np.median(self.costs or self.timings.samples))

    @property
    def first_look(self) -> float:
        """The cost for the screening: of the block that was disturbed least. One process in which another program had
        the cores for a while must not drop its artifact."""
        return self.cost if self.costs else float(min(np.median(block) for block in self.timings.blocks))

    def against(self, best: Entry, seed: int) -> SpeedupRecord:
        """How many times the cost of `best` this takes; with an interval where both were timed in the same rounds."""
        if not (self.shortlisted and best.shortlisted):
            return SpeedupRecord(speedup=self.cost / best.cost)
        mine, others = self.blocks(), best.blocks()
        both = min(len(mine), len(others))  # who was clearly worse has stopped earlier
        numbers = list(range(both)) if self.costs else self.timings.rounds[:both]
        return ratio.speedup(mine[:both], others[:both], numbers, seed=seed)

    def blocks(self) -> list[Samples]:
        """The cost as blocks that can be paired."""
        return [np.array([round(each)], np.int64) for each in self.costs] or self.timings.blocks


@dataclass
class TuneTiming:
    """The timing of what qualified; `skipped`: what could not be timed, and why. Raises as `time_interleaved`."""

    bundle: Bundle
    options: TuneOptions
    cores: int
    began: float
    listener: Listener = SILENT
    skipped: list[SkippedRecord] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    _steps: int = 0

    def run(self, qualified: Qualified) -> list[Entry]:
        """Every entry, those of the shortlist with `rounds`."""
        order = random.Random(self.options.seed)
        first = [
            Configuration(a, d, self.cores) for d, artifacts in qualified.by_device.items() for a in artifacts
        ]
        self._screen(first, order)
        if self.options.objective != "throughput":  # whose processes choose their threads themselves
            self._screen(self._other_threads(), order)
        names = self._shortlist()
        self._time_shortlist([self.entries[name].configuration for name in names], order)
        return list(self.entries.values())

    def _screen(self, configurations: Sequence[Configuration], order: random.Random) -> None:
        """One process of each."""
        rounds = self._interleaving(configurations, SCREENING, order)
        self._time_round(rounds, 0)
        by_id = {configuration.id: configuration for configuration in configurations}
        for name, timings in rounds.timings.items():
            self.entries[name] = Entry(by_id[name], timings, timings.ran)
        if self.options.objective != "latency":
            self._measure_costs([by_id[name] for name in rounds.timings], order)

    def _other_threads(self) -> list[Configuration]:
        """One thread and half of the cores, for the CPU's artifacts that came near, and for the fastest of each
        runtime: on many cores, what one of them loses by waiting for its threads says nothing about fewer."""
        entries = [entry for entry in self.entries.values() if entry.configuration.on_cpu]
        if not entries:
            return []
        most = NEAR * min(entry.first_look for entry in entries)
        near = [entry for entry in entries if entry.first_look <= most]
        for runtime in dict.fromkeys(entry.configuration.artifact.runtime for entry in entries):
            near.append(
                min((e for e in entries if e.configuration.artifact.runtime == runtime), key=_first_look)
            )
        counts = [n for n in dict.fromkeys((1, self.cores // 2)) if 0 < n < self.cores]
        found = [replace(entry.configuration, threads=n) for entry in near for n in counts]
        return list({configuration.id: configuration for configuration in found}.values())

    def _shortlist(self) -> list[str]:
        by_cost = sorted(self.entries, key=lambda name: self.entries[name].first_look)
        if not by_cost:
            return []
        near = NEAR if self.options.max_p95_ms is None else NEAR_TAIL
        most = near * self.entries[by_cost[0]].first_look
        return [name for name in by_cost if self.entries[name].first_look <= most][:MOST_SHORTLISTED]

    def _time_shortlist(self, shortlist: Sequence[Configuration], order: random.Random) -> None:
        """Rounds of those that are left, until one is provably best, or the time is up."""
        rounds = self._interleaving(shortlist, self._effort(shortlist), order)
        for one in shortlist:
            self.entries[one.id] = Entry(
                one, rounds.timings[one.id], self.entries[one.id].ran, shortlisted=True
            )
        for number in range(1, SHORTLIST.rounds + 1):  # 0 was the screening, which asked what ran
            start = perf_counter()
            self._time_round(rounds, number)
            if self.options.objective != "latency":
                self._measure_costs([self.entries[name].configuration for name in rounds.timings], order)
                for name in rounds.timings.keys() - self.entries.keys():
                    del rounds.timings[name]
            if not rounds.timings or self._enough(number, perf_counter() - start, rounds):
                break

    def _effort(self, shortlist: Sequence[Configuration]) -> Effort:
        """Fewer blocks where calls are slow."""
        calls = [self.entries[one.id].timings.ready[-1].call_ns for one in shortlist]
        seconds = SHORTLIST.count * sum(calls) / 1e9
        blocks = int(self.options.budget_s * TIMED_SHARE / seconds) if seconds else SHORTLIST.blocks
        return replace(SHORTLIST, blocks=min(max(blocks - blocks % 2, 2), SHORTLIST.blocks))

    def _enough(self, number: int, last_s: float, rounds: Interleaving) -> bool:
        """Whether another round would tell nothing, or take too long. Who is provably worse is in no more of them."""
        spent = perf_counter() - self.began
        if number < LEAST_ROUNDS:
            return spent + last_s > PATIENCE * self.options.budget_s
        if spent + last_s > self.options.budget_s:
            return True
        shortlist = [entry for entry in self.entries.values() if entry.shortlisted]
        best = min(shortlist, key=_cost)
        for entry in shortlist:
            if entry is not best and entry.against(best, self.options.seed).distinguishable:
                rounds.timings.pop(entry.configuration.id, None)
        ends = best.latency.p50_ci or (None, None)
        return len(rounds.timings) < 2 and None not in ends

    def _interleaving(
        self, configurations: Sequence[Configuration], effort: Effort, order: random.Random
    ) -> Interleaving:
        workloads = [configuration.workload(self.bundle) for configuration in configurations]
        timings = {workload.id: Timings() for workload in workloads}
        return Interleaving(workloads, effort, order, True, timings, warmup=WARM_CALLS)

    def _time_round(self, rounds: Interleaving, number: int) -> None:
        if not rounds.timings:
            return
        names = set(rounds.timings)
        before = len(rounds.skipped)
        rounds.time_round(number, SILENT)
        self.skipped += rounds.skipped[before:]
        for name in names - rounds.timings.keys():
            self.entries.pop(name, None)
        self._steps += 1
        self.listener.progress("tune", self._steps, SHORTLIST.rounds + 2)

    def _measure_costs(self, configurations: Sequence[Configuration], order: random.Random) -> None:
        """The objective's own number, of a fresh process each."""
        measure: Callable[[Configuration], float] = (
            self._time_an_image if self.options.objective == "throughput" else self._peak_bytes
        )
        for configuration in order.sample(list(configurations), len(configurations)):
            try:
                self.entries[configuration.id].costs.append(measure(configuration))
            except FellBack:
                raise
            except EdgeTLError as error:
                self.skipped.append(SkippedRecord(artifact=configuration.id, reason=reason(error)))
                del self.entries[configuration.id]

    def _time_an_image(self, configuration: Configuration) -> float:
        """Nanoseconds, with the runtime's streams."""
        workload = configuration.workload(self.bundle)
        spec = workload.spec | {"throughput_s": STREAM_S}
        answer = once(replace(workload, module=STEPS_WORKER, spec=spec), ThroughputAnswer)
        return 1e9 * answer.seconds / answer.images

    def _peak_bytes(self, configuration: Configuration) -> float:
        """The most that a process held in memory which opens it and runs the golden images. Raises `EdgeTLError` where
        the system does not tell."""
        workload = configuration.workload(self.bundle)
        spec = workload.spec | {"bundle": str(self.bundle.root), "warm": 0, "repeats": 1}
        peak = once(replace(workload, module=STEPS_WORKER, spec=spec), StepsAnswer).memory_mb.peak
        if peak is None:
            raise EdgeTLError(
                "this system does not tell how much memory a process took. Choose --objective latency."
            )
        return peak * 2**20


def _cost(entry: Entry) -> float:
    return entry.cost


def _first_look(entry: Entry) -> float:
    return entry.first_look
