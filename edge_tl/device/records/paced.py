"""What a bench measures at an application's rate, beside busy processes, and for minutes.

Measures nothing. Times are nanoseconds, milliseconds where a name says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.records.codec import Bounds, Fault, Record, json_key, written
from edge_tl.device.records.timing import Interval, LatencyRecord

Count = Annotated[int, Bounds(0)]
Rate = Annotated[float, Bounds(0)]
Nanoseconds = Annotated[int, Bounds(1)]
Blocks = tuple[tuple[Nanoseconds, ...], ...]
Moments = tuple[Annotated[int, Bounds(0)], ...]


@dataclass(frozen=True, kw_only=True)
class PacedRun(Record):
    """One run at a rate, counted from its beginning. The three lists hold every `every`-th arrival; arrivals that were
    never served have no start and no end. The rest is of all arrivals: `waited_ns` the sum of all waits."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    intended_ns: Moments
    start_ns: Moments
    end_ns: Moments
    every: Annotated[int, Bounds(1)]
    arrivals: Count
    calls: Count
    missed: Count
    waited_ns: Count
    longest_ns: Count

    def check(self) -> None:
        """Raises `Fault` for more answers than images, or an answer before its image."""
        if not len(self.start_ns) == len(self.end_ns) <= len(self.intended_ns):
            should = f"a list of {len(self.start_ns)}: a run has no more answers than images"
            raise Fault("end_ns", f"a list of {len(self.end_ns)}", should)
        for place, (due, end) in enumerate(zip(self.intended_ns, self.end_ns, strict=False)):
            if end <= due:
                raise Fault(f"end_ns[{place}]", str(end), f"later than {due}, when the image was due")


@dataclass(frozen=True, kw_only=True)
class QueueRecord(Record):
    """How long images waited for their turn, in milliseconds; None where none was served."""

    mean: float | None
    longest: float | None


@dataclass(frozen=True, kw_only=True)
class RateStatistics(Record):
    """What an application sees at its rate: `latency_ms` from the moment an image was due, `service_ms` the call alone,
    both of the calls that were kept; `missed` and `unserved` of `n`, all arrivals."""

    n: Count
    latency_ms: LatencyRecord
    service_ms: LatencyRecord
    queue_ms: QueueRecord
    deadline_ms: float | None
    missed: Count
    unserved: Count


@dataclass(frozen=True, kw_only=True)
class PacedRecord(RateStatistics):
    """The same with its rate, its runs, and what idling between images costs (the call alone by back to back)."""

    fps: Rate
    idle_penalty: float | None
    idle_penalty_ci: Interval | None
    runs: tuple[PacedRun, ...]


@dataclass(frozen=True, kw_only=True)
class LoadedRecord(Record):
    """Back to back beside `load` busy processes: how many times slower by medians and by means. `samples_ns` holds
    every `every`-th call of a block."""

    load: Count = json_key("neighbours")
    latency_ms: LatencyRecord
    slowdown: float | None
    slowdown_ci: Interval | None
    slowdown_mean: float | None
    slowdown_mean_ci: Interval | None
    samples_ns: Blocks
    every: Annotated[int, Bounds(1)]
    paced: PacedRecord | None = None


@dataclass(frozen=True, kw_only=True)
class SpanRecord(Record):
    """What a sensor showed in the course of a run."""

    first: float
    min: float
    max: float
    last: float


@dataclass(frozen=True, kw_only=True)
class SensorReading(Record):
    """One reading, `t` seconds from the start; None where the system does not show it. `clock_mhz` is the mean over
    cores, `throttle_count` events since boot, `energy_uj` the packages' counters, which wrap."""

    t: float
    clock_mhz: float | None
    clock_min_mhz: float | None
    temperature_c: float | None
    throttled: tuple[str, ...] | None
    throttle_count: int | None
    energy_uj: int | None


@dataclass(frozen=True, kw_only=True)
class SensorSummary(Record):
    """The readings of a run; None where nothing was shown."""

    clock_mhz: SpanRecord | None
    temperature_c: SpanRecord | None
    throttled: tuple[str, ...] | None
    throttle_events: int | None
    power_w: float | None


@dataclass(frozen=True, kw_only=True)
class ChangeRecord(Record):
    """How many times the last window of a run is the first; `change_reason` says why there is no interval."""

    change: float | None = written(None)
    change_ci: Interval | None = written(None)
    change_reason: str | None = written(None)


@dataclass(frozen=True, kw_only=True)
class SustainedRecord(ChangeRecord):
    """One process for `minutes`: the calls due in the first and in the last `window_s` seconds, and the sensors."""

    minutes: Rate
    load: Count = json_key("neighbours")
    window_s: Rate
    first: LatencyRecord
    last: LatencyRecord
    sensors: SensorSummary
    readings: tuple[SensorReading, ...]
    run: PacedRun
