"""The record of one exported model: its files, what they were measured to do, and whether it passed its gates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from edge_tl.device.records.accuracy import ChangedAnswer, ConfidenceRecord, Confusion, Interval, ProvenOn
from edge_tl.device.records.codec import (
    Bounds,
    Count,
    Fault,
    Fraction,
    Json,
    NotEmpty,
    Pattern,
    Record,
    written,
)
from edge_tl.device.records.heatmap import HeatmapRecord
from edge_tl.device.records.image_input import ImageInputRecord, InputKind
from edge_tl.device.records.timing import LatencyRecord, RanRecord
from edge_tl.device.runtimes.families import BY_NAME, Family, RuntimeName, files_of

_MOST_BYTES = 1 << 36

Whole = Annotated[int, Bounds(0, 1 << 53)]
Word = Annotated[str, Pattern("[a-z0-9_]{1,32}", "a short word such as vnni")]
# A name that means the same file on every system: no control character, no drive, no stream, no other separator.
_PART = r'[^\x00-\x1f\x7f\\/:*?"<>|]{1,128}'
FilePath = Annotated[
    str,
    Pattern(
        rf"(?!(?:[^/]*/)*\.{{1,2}}(?:/|$)){_PART}(?:/{_PART}){{0,3}}",
        "a plain path that does not lead outside the bundle's folder",
    ),
]


@dataclass(frozen=True)
class FileRecord(Record):
    """A file of the bundle: its path below the bundle's folder, the SHA-256 of its content, its size in bytes."""

    path: FilePath
    sha256: Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]
    bytes: Annotated[int, Bounds(0, _MOST_BYTES)]


@dataclass(frozen=True)
class LimitsRecord(Record):
    """What the gates on a device allow: the largest difference of a logit from the host's, the least share of golden
    images with PyTorch's answer, and the largest accuracy drop in percentage points."""

    device_max_abs_diff: Annotated[float, Bounds(0, 1e9)]
    golden_agreement: Fraction
    max_drop_pp: Annotated[float, Bounds(-1000, 1000)]


@dataclass(frozen=True)
class BudgetRecord(Record):
    """A budget on latency ("p95", milliseconds) or size ("size", megabytes). One that is not kept says nothing against
    the artifact, only against shipping it here. `measured` is None where too few calls support it."""

    budget: Literal["p95", "size"]
    measured: float | None
    limit: float
    unit: str
    kept: bool


@dataclass(frozen=True)
class LayerError(Record):
    """How far the output of a layer of INT8 is from FP32's: the ratio of their powers in decibels, 20 for a tenth of
    the amplitude."""

    layer: str
    sqnr_db: float


@dataclass(frozen=True)
class ArtifactRecord(Record):
    """One exported model. What was measured is None until it was: the accuracy at export, on the evaluation images;
    latencies and speed-ups at export, on the host; `passed` by the gates. `requires` names instructions ("vnni",
    "dotprod"), any one of which a CPU must have to give these answers; `session_options` are those that ONNX Runtime
    must be given for the same on x86 without VNNI. `layer_errors` are in the order of the network. The drops are
    percentage points, positive = worse than PyTorch; `faster_than_fp32` is against the fastest FP32 artifact.
    `not_judged` says why a speed that was timed is none of them: the machine was busy, or the interval wide.

    One whose `input` is "image" takes uint8 `(1, H, W, 3)`, RGB of any size, and answers with probabilities; its id
    ends in -image, its logits are the logarithms of these, and `image_input` says what differs."""

    id: NotEmpty
    runtime: RuntimeName
    precision: Annotated[str, Pattern("[a-z0-9]{1,16}", "a short word such as fp32 or int8")]
    files: tuple[FileRecord, ...]
    limits: LimitsRecord
    install: str | None = None
    requires: tuple[Word, ...] = ()
    session_options: dict[str, str] | None = None
    input: InputKind = "tensor"
    image_input: ImageInputRecord | None = None
    opset: int | None = None
    ir_version: int | None = None
    runtime_floor: str | None = None
    quantization: Json = None
    ladder: Json = None
    layer_errors: Annotated[tuple[LayerError, ...], Count(0, 4096)] | None = None
    accuracy: Fraction | None = None
    drop_pp: float | None = None
    drop_ci_pp: Interval | None = None
    lost: Whole | None = None
    won: Whole | None = None
    mcnemar_p: float | None = None
    agreement: Fraction | None = None
    max_abs_diff: float | None = None
    confidence: ConfidenceRecord | None = None
    proven_on: tuple[ProvenOn, ...] | None = None
    confusion: Confusion | None = None
    changed: tuple[ChangedAnswer, ...] | None = None
    heatmap: HeatmapRecord | None = None
    latency_ms: LatencyRecord | None = written(None)
    steady: bool | None = written(None)
    ran: RanRecord | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    speedup: float | None = written(None)
    speedup_ci: Interval | None = written(None)
    distinguishable: bool | None = written(None)
    faster_than_fp32: float | None = None
    faster_than_fp32_ci: Interval | None = None
    not_judged: str | None = None
    passed: bool | None = None
    reasons: tuple[str, ...] | None = None
    budgets: tuple[BudgetRecord, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. What is no FP32 and was timed always says whether it is faster than FP32: null where there
        is no FP32 artifact to compare with."""
        found = super().to_json()
        if self.precision != "fp32" and self.passed is not None:
            found.setdefault("faster_than_fp32", None)
            found.setdefault("faster_than_fp32_ci", None)
        return found

    def check(self) -> None:
        """Raises `Fault` for files that are not exactly what the runtime opens."""
        names = Counter(file.path for file in self.files)
        models = [path for name in names if (path := PurePosixPath(name)).suffix == self.family.suffix]
        if len(models) != 1 or names != Counter(map(str, files_of(models[0]))):
            should = f"the one {self.family.files} that {self.runtime} opens"
            raise Fault("files", f"a list of {len(self.files)}", should)
        if self.takes_pixels != (self.image_input is not None):
            there = "an object" if self.takes_pixels else "left out"
            raise Fault(
                "image_input",
                "missing" if self.takes_pixels else "an object",
                f"{there}: its input is {self.input}",
            )

    @property
    def family(self) -> Family:
        """What its runtime is called, opens and is installed with."""
        return BY_NAME[self.runtime]

    @property
    def main(self) -> str:
        """The path, below the bundle's folder, of the file that a runtime opens."""
        return next(f.path for f in self.files if PurePosixPath(f.path).suffix == self.family.suffix)

    @property
    def proper_id(self) -> str:
        """What `export` calls such an artifact: the runtime, the precision, and that it takes raw pixels."""
        return f"{self.family.prefix}-{self.precision}" + ("-image" if self.takes_pixels else "")

    @property
    def takes_pixels(self) -> bool:
        """Whether it preprocesses itself."""
        return self.input == "image"

    @property
    def size_mb(self) -> float:
        """Of all its files, in megabytes of 10**6 bytes."""
        return sum(file.bytes for file in self.files) / 1e6

    @property
    def median_ms(self) -> float | None:
        """The median latency at export."""
        return None if self.latency_ms is None else self.latency_ms.p50
