"""The result of a bench, as `--json` prints it and `--save` keeps it. docs/reference/bench.md explains the keys.

Measures and compares nothing. Times are nanoseconds, milliseconds where a name says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Bounds, Fault, NotEmpty, Record, json_key, written
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.paced import Blocks, LoadedRecord, Moments, PacedRecord, SustainedRecord
from edge_tl.device.records.timing import ConditionsRecord, Interval, LatencyRecord, RanRecord, SkippedRecord

SCHEMA = "edge-tl bench 1"


@dataclass(frozen=True, kw_only=True)
class SpeedupRecord(Record):
    """How many times faster than the baseline, with its 95 % interval; `distinguishable` is whether that leaves 1 out.
    None where there is too little to say so; `not_judged` says why there is no figure though it was timed."""

    speedup: float | None = written(None)
    speedup_ci: Interval | None = written(None)
    distinguishable: bool | None = written(None)
    not_judged: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrendRecord(Record):
    """The change over the whole length as a fraction of the median, and the p-value of the trend test."""

    change: float
    p: float


@dataclass(frozen=True, kw_only=True)
class DriftRecord(Record):
    """Whether latencies had settled: along the calls of a process, and along the blocks of the run. None where there
    are too few points to test."""

    steady: bool | None = written(None)
    within_process: TrendRecord | None = written(None)
    across_run: TrendRecord | None = written(None)


@dataclass(frozen=True, kw_only=True)
class StepLatencies(Record):
    """From encoded image to label: each step, and `whole`, timed as one. `normalize` is the part of `preprocess` after
    resize and crop; None in older results, and where the artifact normalizes itself."""

    decode: LatencyRecord
    preprocess: LatencyRecord
    inference: LatencyRecord
    postprocess: LatencyRecord
    whole: LatencyRecord
    normalize: LatencyRecord | None = None


@dataclass(frozen=True, kw_only=True)
class StepSamples(Record):
    """The nanoseconds of each step, image by image, of one process."""

    decode: Moments
    preprocess: Moments
    inference: Moments
    postprocess: Moments
    whole: Moments
    normalize: Moments | None = None


@dataclass(frozen=True, kw_only=True)
class ColdStart(Record):
    """Milliseconds of a fresh process until its first answer; `read` is None where the runtime reads and compiles in
    one."""

    import_: float | None = json_key("import")
    read_: float | None = json_key("read")
    compile: float | None
    first: float | None


@dataclass(frozen=True, kw_only=True)
class MemoryRecord(Record):
    """MiB of a process at its start, with the model loaded, and at most; None where the system does not tell."""

    start: float | None
    loaded: float | None
    peak: float | None


@dataclass(frozen=True, kw_only=True)
class ArtifactTiming(SpeedupRecord, DriftRecord):
    """One artifact. `samples_ns` holds the blocks in the order they were timed, `block_round` the round of each, which
    is its process; `latency_ms` is back to back, in steps that of inference alone. What was not asked for is left
    out."""

    id: NotEmpty
    latency_ms: LatencyRecord
    ran: RanRecord
    samples_ns: Blocks
    block_round: tuple[int, ...]
    load_ms: float | None = written(None)
    first_ms: float | None = written(None)
    warmup_calls: tuple[int, ...] = written(())
    block_calls: int | None = written(None)
    every: int | None = None
    paced: PacedRecord | None = None
    loaded: LoadedRecord | None = None
    sustained: SustainedRecord | None = None
    parts: StepLatencies | None = None
    cold_ms: ColdStart | None = None
    memory_mb: MemoryRecord | None = None
    size_mb: float | None = None
    steps_ns: tuple[StepSamples, ...] | None = None

    def check(self) -> None:
        """Raises `Fault` where the blocks and what belongs to each do not fit."""
        paced = [self.paced.runs] if self.paced else []
        if self.loaded:
            paced += [self.loaded.paced.runs] if self.loaded.paced else []
            same_length("loaded.samples_ns", len(self.loaded.samples_ns), len(self.block_round))
        same_length("samples_ns", len(self.samples_ns), len(self.block_round))
        for runs in paced:
            same_length("paced.runs", len(runs), len(self.block_round))


@dataclass(frozen=True, kw_only=True)
class SweepTiming(Record):
    """A combination of batch size and threads of one artifact; `asked_threads` None is every core allowed, `threads`
    what ran."""

    artifact: NotEmpty
    batch: Annotated[int, Bounds(1)]
    asked_threads: int | None
    threads: int | None = written(None)
    latency_ms: LatencyRecord
    ms_per_image: float | None = written(None)
    images_per_s: float | None = written(None)
    ran: RanRecord
    samples_ns: Blocks
    block_round: tuple[int, ...]

    def check(self) -> None:
        """Raises `Fault` where blocks and rounds do not fit."""
        same_length("samples_ns", len(self.samples_ns), len(self.block_round))


@dataclass(frozen=True, kw_only=True)
class StreamsRecord(RanRecord):
    """What ran for throughput: the runtime's parallel streams and the requests in flight."""

    streams: int | None = None
    requests: int | None = None


@dataclass(frozen=True, kw_only=True)
class ThroughputRecord(Record):
    """Images a second with the runtime's streams: the median over fresh processes, and each of them."""

    artifact: NotEmpty
    batch: Annotated[int, Bounds(1)]
    images_per_s: float
    rounds: tuple[float, ...]
    ran: StreamsRecord

    def check(self) -> None:
        """Raises `Fault` for a rate that no process has."""
        for place, rate in enumerate(self.rounds):
            if rate < 1e-6:  # an image in twelve days; below, its time is no number of nanoseconds
                raise Fault(f"rounds[{place}]", f"{rate:g}", "images per second, above 0")


@dataclass(frozen=True, kw_only=True)
class NoiseRecord(Record):
    """An artifact against itself: the ratio and its interval, how wide that is, and whether it contains 1."""

    ratio: float | None
    ratio_ci: Interval | None
    width: float | None
    contains_one: bool | None


@dataclass(frozen=True, kw_only=True)
class MethodRecord(Record):
    """How it was measured: fresh processes (`rounds`), blocks in each, calls in a block at least, what was dropped as
    warm-up; at a rate `fps`, `seconds` or `minutes`, and the busy processes beside it (`load`)."""

    rounds: int | None = written(None)
    blocks: int | None = written(None)
    count: int | None = written(None)
    warmup: int | None = written(None)
    warmup_s: float | None = written(None)
    rewarm: int | None = written(None)
    batch: int | None = written(None)
    seed: int | None = written(None)
    fps: float | None = None
    seconds: float | None = None
    minutes: float | None = None
    load: int | None = None


@dataclass(frozen=True, kw_only=True)
class BenchResult(Record):
    """A result of `edge-tl bench`; `kind` says what its artifacts hold besides latency, `bundle` the hashes of their
    files. Nothing in it tells whose machine it was."""

    document = "result of edge-tl bench"
    advice = "run edge-tl bench on the bundle again, with -o or --save"
    error = BadInput

    schema: Literal["edge-tl bench 1"] = written(SCHEMA)
    kind: Literal["latency", "noise", "pace", "parts"]
    date: str
    machine: MachineRecord
    conditions: ConditionsRecord | None = written(None)
    harness_floor_us: float | None = written(None)
    method: MethodRecord
    baseline: str | None = None
    artifacts: tuple[ArtifactTiming, ...]
    skipped: tuple[SkippedRecord, ...] = written(())
    noise: NoiseRecord | None = None
    sweep: tuple[SweepTiming, ...] | None = None
    throughput: tuple[ThroughputRecord, ...] | None = None
    warnings: tuple[str, ...] = written(())
    name: str | None = None
    bundle: dict[str, tuple[str, ...]] | None = None


def same_length(key: str, found: int, wanted: int) -> None:
    """Raises `Fault` where a list does not have an item for each block."""
    if found != wanted:
        raise Fault(key, f"a list of {found}", f"a list of {wanted}, as block_round is")
