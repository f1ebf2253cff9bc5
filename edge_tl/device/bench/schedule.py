"""A callable at an application's rate: arrivals on a schedule, latency from the intended time.

The generator is open: an arrival does not wait for the answer before it. Counting from the moment a late call began
would hide the waiting, Gil Tene's "coordinated omission".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.bench.timer import Samples
from edge_tl.device.records.paced import PacedRun, QueueRecord, RateStatistics

GRACE_S = 1.0  # how long after the last arrival a queue may still be served
KEPT = 50_000  # calls of which a run keeps the times: about 3 MB in a saved result


@dataclass(frozen=True)
class Clock:
    """What tells the nanoseconds and sleeps for seconds; a test's own needs no time."""

    now: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], object] = time.sleep


CLOCK = Clock()


def call_at_rate(
    call: Callable[[], object],
    *,
    fps: float | None,
    seconds: float,
    deadline_ms: float | None = None,
    kept: int = KEPT,
    clock: Clock = CLOCK,
) -> PacedRun:
    """Call at `fps` for `seconds`, or back to back where `fps` is None.

    Arrivals that a queue kept from being served until a second after the last have no start and no end. One call at a
    time, first come first served. Between arrivals it sleeps: a waiting loop would keep the processor awake and hide
    what idling costs.

    Of more than `kept` arrivals (at least 2) only every `every`-th is in the lists of moments, evenly from the first
    to the last. The rest counts all of them; `missed` is later than `deadline_ms`, or never served (None: nothing can
    be missed).
    """
    begin = clock.now()
    stop = begin + int(seconds * 1e9)
    if fps is None:
        return _back_to_back(call, begin, stop, kept, clock)
    arrivals = max(1, int(seconds * fps))
    every = -(-arrivals // kept)
    starts: list[int] = []
    ends: list[int] = []
    limit = math.inf if deadline_ms is None else deadline_ms * 1e6
    calls = late = waited = longest = 0
    while calls < arrivals:
        due = int(calls * 1e9 / fps)
        while (wait := begin + due - clock.now()) > 0:
            clock.sleep(wait / 1e9)
        start = clock.now()
        if start > stop + GRACE_S * 1e9:
            break
        call()
        end = clock.now() - begin
        start -= begin
        if calls % every == 0:
            starts.append(start)
            ends.append(end)
        calls += 1
        late += end - due > limit
        waited += start - due
        longest = max(longest, start - due)
    return PacedRun(
        intended_ns=tuple(int(i * 1e9 / fps) for i in range(0, arrivals, every)),
        start_ns=tuple(starts),
        end_ns=tuple(ends),
        every=every,
        arrivals=arrivals,
        calls=calls,
        missed=0 if deadline_ms is None else late + arrivals - calls,
        waited_ns=waited,
        longest_ns=longest,
    )


def _back_to_back(call: Callable[[], object], begin: int, stop: int, kept: int, clock: Clock) -> PacedRun:
    starts: list[int] = []
    ends: list[int] = []
    every, calls = 1, 0
    while (start := clock.now()) < stop:
        call()
        end = clock.now()
        if calls % every == 0:
            if len(starts) >= kept:
                # How many calls are still to come is unknown: drop every second one, and keep half as many from now on.
                del starts[1::2], ends[1::2]
                every *= 2
            if calls % every == 0:
                starts.append(start - begin)
                ends.append(end - begin)
        calls += 1
    return PacedRun(
        intended_ns=tuple(starts),
        start_ns=tuple(starts),
        end_ns=tuple(ends),
        every=every,
        arrivals=calls,
        calls=calls,
        missed=0,
        waited_ns=0,
        longest_ns=0,
    )


def rate_statistics(
    runs: Sequence[PacedRun], *, deadline_ms: float | None, rounds: Sequence[int] | None = None
) -> RateStatistics:
    """What an application sees of the runs of `call_at_rate`.

    The percentiles are of the calls that were kept, which their own `n` counts; everything else is of all arrivals.
    `deadline_ms` is what `call_at_rate` was given; `rounds` names the process of each run.
    """
    served = [_served(run) for run in runs]
    names = np.repeat(rounds or list(range(len(runs))), [len(due) for due, _, _ in served])
    calls = sum(run.calls for run in runs)
    arrivals = sum(run.arrivals for run in runs)
    return RateStatistics(
        n=arrivals,
        latency_ms=summarize(np.concatenate([end - due for due, _, end in served]), names),
        service_ms=summarize(np.concatenate([end - start for _, start, end in served]), names),
        queue_ms=QueueRecord(
            mean=sum(run.waited_ns for run in runs) / calls / 1e6 if calls else None,
            longest=max(run.longest_ns for run in runs) / 1e6 if calls else None,
        ),
        deadline_ms=deadline_ms,
        missed=sum(run.missed for run in runs),
        unserved=arrivals - calls,
    )


def service_ns(run: PacedRun) -> Samples:
    """Durations of the calls themselves."""
    _, start, end = _served(run)
    return end - start


def latency_ns(run: PacedRun) -> tuple[Samples, Samples]:
    """When each served image was due, and its latency from then: nanoseconds."""
    due, _, end = _served(run)
    return due, end - due


def _served(run: PacedRun) -> tuple[Samples, Samples, Samples]:
    """When the kept calls were due, began and ended: nanoseconds from the beginning of the run."""
    due = np.array(run.intended_ns[: len(run.start_ns)], np.int64)
    return due, np.array(run.start_ns, np.int64), np.array(run.end_ns, np.int64)
