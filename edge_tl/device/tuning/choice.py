"""Which configuration is picked by the objective, and why each of the others is not. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_tl.device.bench.latency import Timings
from edge_tl.device.bench.percentiles import percentile_ms
from edge_tl.device.format import number
from edge_tl.device.records.bench import SpeedupRecord
from edge_tl.device.records.tuned import AlternativeRecord
from edge_tl.device.tuning.options import TuneOptions
from edge_tl.device.tuning.timing import Entry

# Who is not distinguishable from the best and at most so many times worse is as good: a wide interval of a busy machine
# contains 2, too, and that is no reason to take what looks half as fast.
AS_GOOD = 1.05
SAME_MEMORY = 1.01  # a hundredth of a process's memory is where its libraries happened to lie
_OF = {"latency": "latency", "throughput": "time an image", "memory": "memory"}
WORDS = {"latency": "speed", "throughput": "throughput", "memory": "memory"}


@dataclass(frozen=True)
class Decision:
    """The pick, or None and who comes nearest to the limit; over whom, those first that came near."""

    pick: Entry | None
    nearest: Entry | None
    over: tuple[AlternativeRecord, ...]


def decide(entries: Sequence[Entry], options: TuneOptions) -> Decision:
    """The best by the objective among those within `max_p95_ms`. Of those that are not distinguishable from it the most
    accurate, then the smallest, then the one on the fewest threads (by memory: the fastest)."""
    shortlist = sorted((entry for entry in entries if entry.shortlisted), key=lambda entry: entry.cost)
    late = {id(entry): why for entry in shortlist if (why := _too_late(entry, options.max_p95_ms))}
    able = [entry for entry in shortlist if id(entry) not in late]
    if not able:
        nearest = min(shortlist, key=lambda entry: _p95(entry.timings), default=None)
        return Decision(None, nearest, _over(entries, nearest, late, options))
    best = able[0]
    as_good = [
        entry for entry in able if entry is best or _as_good(entry.against(best, options.seed), options)
    ]
    pick = min(as_good, key=lambda entry: (*_worth(entry), *_last(entry, options)))
    return Decision(pick, None, _over(entries, pick, late, options))


def _as_good(ratio: SpeedupRecord, options: TuneOptions) -> bool:
    measured = ratio.speedup or math.inf
    if options.objective == "memory" and measured <= SAME_MEMORY:
        return True
    return not ratio.distinguishable and measured <= AS_GOOD


def _worth(entry: Entry) -> tuple[float, int]:
    """What decides between two that are as good: accuracy at export, then size. Less is better."""
    record = entry.configuration.artifact.record
    return -(record.accuracy or 0.0), sum(file.bytes for file in record.files)


def _last(entry: Entry, options: TuneOptions) -> tuple[float, float]:
    middle = float(entry.latency.p50 or math.inf)
    threads = float(entry.configuration.threads)
    return (middle, threads) if options.objective == "memory" else (threads, entry.cost)


def _p95(timings: Timings) -> float:
    """In milliseconds; the slowest call where there are too few for a p95."""
    found = _latency_p95(timings)
    return float(timings.samples.max()) / 1e6 if found is None else found


def _latency_p95(timings: Timings) -> float | None:
    return percentile_ms(timings.samples, 0.95)


def _too_late(entry: Entry, limit: float | None) -> str | None:
    """Why it is passed over; None where it is within the limit, or there is none."""
    if limit is None or (found := _p95(entry.timings)) <= limit:
        return None
    few = _latency_p95(entry.timings) is None
    what = (
        f"the slowest of its {len(entry.timings.samples)} calls, too few for a p95, took"
        if few
        else "its p95 is"
    )
    return f"{what} {number(found)} ms, over the limit of {limit:g} ms"


def _over(
    entries: Sequence[Entry], pick: Entry | None, late: dict[int, str], options: TuneOptions
) -> tuple[AlternativeRecord, ...]:
    """Everybody but the pick; where there is none, the nearest first. Then those that the shortlist timed, by cost."""
    found = []
    whose = f"{pick.configuration.artifact.id}'s" if pick and id(pick) in late else "the pick's"
    for entry in sorted(entries, key=lambda entry: (entry is not pick, not entry.shortlisted, entry.cost)):
        if pick is None or (entry is pick and id(entry) not in late):
            continue
        ratio = entry.against(pick, options.seed)
        found.append(
            AlternativeRecord(
                artifact=entry.configuration.artifact.id,
                device=entry.configuration.device,
                threads=entry.ran.threads,
                latency_ms=entry.latency,
                images_per_s=images_per_s(entry, options),
                memory_mb=memory_mb(entry, options),
                ratio=ratio.speedup,
                ratio_ci=ratio.speedup_ci,
                reason=late.get(id(entry)) or _why_not(entry, pick, ratio, options, whose),
            )
        )
    return tuple(found)


def _why_not(entry: Entry, pick: Entry, ratio: SpeedupRecord, options: TuneOptions, whose: str) -> str:
    what, of = WORDS[options.objective], f"{whose} {_OF[options.objective]}"
    if not entry.shortlisted:
        return f"{number(ratio.speedup)} times {of} in a first look; not measured further"
    if not _as_good(ratio, options):
        proven = "" if ratio.distinguishable else "; not proven"
        return f"{number(ratio.speedup)} times {of}{proven}"
    mine, other = _worth(entry), _worth(pick)
    if mine[0] != other[0]:
        return f"as good in {what}; {number(100 * (mine[0] - other[0]))} pp less accurate"
    if mine[1] != other[1]:
        return f"as good in {what} and accuracy; {number((mine[1] - other[1]) / 1e6, 1)} MB larger"
    last = "slower" if options.objective == "memory" else "it takes more threads"
    return f"as good in {what}; {last}"


def images_per_s(entry: Entry, options: TuneOptions) -> float | None:
    """Where that is the objective."""
    return 1e9 / entry.cost if options.objective == "throughput" else None


def memory_mb(entry: Entry, options: TuneOptions) -> float | None:
    """MiB, where that is the objective."""
    return entry.cost / 2**20 if options.objective == "memory" else None
