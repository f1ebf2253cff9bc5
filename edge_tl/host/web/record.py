"""The record of a folder for browsers, `web.json`: what its page reads. Reads and writes no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.artifact import FileRecord, LimitsRecord, Word
from edge_tl.device.records.codec import NotEmpty, Record


@dataclass(frozen=True)
class WebArtifact(Record):
    """An ONNX artifact of the bundle. `drop_pp` and its interval are percentage points, from the export."""

    id: NotEmpty
    precision: str
    file: FileRecord
    limits: LimitsRecord
    requires: tuple[Word, ...] = ()
    accuracy: float | None = None
    drop_pp: float | None = None
    drop_ci_pp: Interval | None = None
    failed: str | None = None


@dataclass(frozen=True)
class WebLogits(Record):
    """float32 `(n, classes)`, little-endian, of the artifact `name` or of "pytorch"."""

    name: NotEmpty
    file: FileRecord


@dataclass(frozen=True)
class WebGoldens(Record):
    """The encoded images; `pixels` are uint8 `(n, H, W, 3)`, RGB, which the contract normalizes to the inputs."""

    images: tuple[FileRecord, ...]
    pixels: FileRecord
    logits: tuple[WebLogits, ...]


@dataclass(frozen=True)
class WebProvider(Record):
    """An execution provider of the page: the module that is imported, and every file of it."""

    name: Literal["wasm", "webgpu"]
    entry: str
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class WebRuntime(Record):
    """Which onnxruntime-web lies beside the page."""

    package: str
    version: str
    license: str
    providers: tuple[WebProvider, ...]


@dataclass(frozen=True)
class WebRecord(Record):
    """A folder for browsers. `opened` is the artifact that the page begins with, `bundle_seal` the bundle's."""

    schema_version: Literal[1]
    edge_tl: str
    name: NotEmpty
    labels: tuple[NotEmpty, ...]
    preprocess: Preprocess
    pixel_limit_levels: float
    artifacts: tuple[WebArtifact, ...]
    opened: NotEmpty
    golden: WebGoldens
    runtime: WebRuntime
    bundle_seal: str | None = None
