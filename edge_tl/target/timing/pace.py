"""A callable at an application's pace: arrivals on a schedule, latency from the intended time. It must not judge.

The generator is open: an arrival does not wait for the answer before it. Counting from the moment a late call began
would hide the waiting, Gil Tene's "coordinated omission".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.target.timing.calls import Samples
from edge_tl.target.timing.percentiles import summarize

GRACE_S = 1.0  # how long after the last arrival a queue may still be served
LIMIT = 2_000_000  # calls of a back-to-back run, lest a tiny model fills the memory in ten minutes


def at_pace(
    call: Callable[[], object],
    *,
    fps: float | None,
    seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, list[int]]:
    """Call at `fps` for `seconds`, or back to back where `fps` is None.

    Returns `{intended_ns, start_ns, end_ns}`, counted from the beginning; arrivals that a queue kept from being
    served until a second after the last have no start and no end. One call at a time, first come first served.
    Between arrivals it sleeps: a waiting loop would keep the processor awake and hide what idling costs.
    """
    begin = clock()
    stop = begin + int(seconds * 1e9)
    intended: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    if fps is None:
        while (now := clock()) < stop and len(starts) < LIMIT:
            call()
            starts.append(now - begin)
            ends.append(clock() - begin)
        return {"intended_ns": list(starts), "start_ns": starts, "end_ns": ends}
    count = max(1, int(seconds * fps))
    intended = [int(i * 1e9 / fps) for i in range(count)]
    for due in intended:
        while (wait := begin + due - clock()) > 0:
            sleep(wait / 1e9)
        start = clock()
        if start > stop + GRACE_S * 1e9:
            break
        call()
        starts.append(start - begin)
        ends.append(clock() - begin)
    return {"intended_ns": intended, "start_ns": starts, "end_ns": ends}


def judged(
    runs: list[dict[str, list[int]]], *, deadline_ms: float | None, rounds: list[int] | None = None
) -> dict[str, Any]:
    """What an application sees of `at_pace`'s runs: `latency_ms{}` from the intended time, `service_ms{}` from the
    start of the call, `queue_ms` (mean and longest wait), `missed` and `unserved` arrivals among `n`.

    `deadline_ms` None: nothing can be missed. An arrival that was never served has missed.
    """
    waits, service, latency, unserved, n = [], [], [], 0, 0
    for run in runs:
        served = len(run["start_ns"])
        due, start, end = (np.array(run[k][:served], np.int64) for k in ("intended_ns", "start_ns", "end_ns"))
        waits.append(start - due)
        service.append(end - start)
        latency.append(end - due)
        unserved += len(run["intended_ns"]) - served
        n += len(run["intended_ns"])
    names = np.repeat(rounds or list(range(len(runs))), [len(part) for part in latency])
    seen, wait = np.concatenate(latency), np.concatenate(waits)
    late = 0 if deadline_ms is None else int((seen > deadline_ms * 1e6).sum()) + unserved
    return {
        "n": n,
        "latency_ms": summarize(seen, names),
        "service_ms": summarize(np.concatenate(service), names),
        "queue_ms": {
            "mean": float(wait.mean()) / 1e6 if len(wait) else None,
            "longest": float(wait.max()) / 1e6 if len(wait) else None,
        },
        "deadline_ms": deadline_ms,
        "missed": late,
        "unserved": unserved,
    }


def service_ns(run: dict[str, list[int]]) -> Samples:
    """Durations of the calls themselves."""
    served = len(run["start_ns"])
    result: NDArray[np.int64] = np.array(run["end_ns"], np.int64) - np.array(
        run["start_ns"][:served], np.int64
    )
    return result
