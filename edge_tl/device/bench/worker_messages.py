"""What processes that are timed are told and say, one JSON line each. Times nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.records.codec import Record
from edge_tl.device.records.image_input import InputKind
from edge_tl.device.records.timing import RanRecord


@dataclass(frozen=True)
class Imported(Record):
    """What a worker that waits says once its libraries are imported: whether it ends with its parent."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    dies_with_parent: bool = False


@dataclass(frozen=True)
class Ready(Record):
    """What a worker says once it is warm: the nanoseconds of loading, of the first call and of a warm one, the calls
    of its warm-up, whether it ends with its parent, and what ran where it was asked to describe that."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    load_ns: int
    first_ns: int
    warmup_calls: int
    call_ns: int
    dies_with_parent: bool = False
    ran: RanRecord | None = None


@dataclass(frozen=True)
class Block(Record):
    """The nanoseconds of each call of a block."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    samples_ns: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelJob(Record):
    """One artifact in a fresh process: its file, `shape` of its input `(n, 3, H, W)`, or `(1, H, W, 3)` where `input`
    is "image"."""

    document = "job of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    path: str
    device: str
    threads: int
    shape: tuple[int, ...]
    input: InputKind = "tensor"
    allow_fallback: bool = False


@dataclass(frozen=True, kw_only=True)
class StepsJob(ModelJob):
    """Time a cold start, then each step over the golden images of the folder `bundle`: `warm` turns that do not count,
    `repeats` that do."""

    bundle: str
    warm: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class ThroughputJob(ModelJob):
    """Count images for `throughput_s` seconds."""

    throughput_s: float
