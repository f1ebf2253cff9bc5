"""What `bundle.json` says, by type: the records of a bundle, its artifacts, its goldens and their files.

It must not touch a file. Everything here may come from somebody else: `from_json` takes nothing on trust, and names
the key that is not as `export` writes it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.names import check_label, steers
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.fields import Fields

LIMITS = ("device_max_abs_diff", "golden_agreement", "max_drop_pp")
SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml"}
MOST_CLASSES = 100_000
MOST_GOLDENS = 1000
MOST_ARTIFACTS = 32  # a runtime and a precision each
_MOST_BYTES = 1 << 36
_FAMILIES = {"onnxruntime": "onnx", "openvino": "openvino"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PRECISION = re.compile(r"[a-z0-9]{1,16}")
# A name that means the same file on every system: no control character, no drive, no stream, no other separator.
_PART = re.compile(r'[^\x00-\x1f\x7f\\:*?"<>|]{1,128}')


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: its path below the bundle's folder, what it holds, its size in bytes."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, fields: Fields) -> FileRecord:
        """Raises `BundleError`, for a path that leaves the bundle too."""
        path = inside(fields, "path", fields.text("path"))
        sha256 = fields.text("sha256")
        if not _SHA256.fullmatch(sha256):
            raise fields.fault("sha256", "64 hexadecimal digits")
        return cls(path, sha256, fields.whole("bytes", 0, _MOST_BYTES))


@dataclass(frozen=True)
class Proven:
    """The instruction set that INT8 was judged with, None where it is not known, and the drop there."""

    isa: str | None
    drop_pp: float | None

    @classmethod
    def from_json(cls, fields: Fields) -> Proven:
        """Raises `BundleError`."""
        isa = fields.text("isa") if fields.given("isa") else None
        if fields.given("fault"):  # it did not run there, which no budget allows
            return cls(isa, math.inf)
        return cls(isa, fields.number("drop_pp") if fields.given("drop_pp") else None)


@dataclass(frozen=True)
class ArtifactRecord:
    """One exported model; `main` is the path of the file that a runtime opens. `passed` is None before the verdict."""

    id: str
    runtime: str
    precision: str
    files: tuple[FileRecord, ...]
    main: str
    limits: dict[str, float]
    proven_on: tuple[Proven, ...]
    passed: bool | None

    @classmethod
    def from_json(cls, fields: Fields) -> ArtifactRecord:
        """Raises `BundleError`, for an artifact without the one file (and its weights) that its runtime opens too."""
        runtime = fields.text("runtime")
        if runtime not in SUFFIXES:
            raise fields.fault("runtime", f"one of {', '.join(SUFFIXES)}")
        precision = fields.text("precision")
        if not _PRECISION.fullmatch(precision):
            raise fields.fault("precision", "a short word such as fp32 or int8")
        files = tuple(FileRecord.from_json(part) for part in fields.parts("files"))
        names = [file.path for file in files]
        models = [name for name in names if PurePosixPath(name).suffix == SUFFIXES[runtime]]
        wanted = {name for main in models for name in _files_of(main)}
        if len(models) != 1 or set(names) != wanted or len(names) != len(wanted):
            need = ".onnx file" if runtime == "onnxruntime" else ".xml file with the .bin beside it"
            raise fields.fault("files", f"the one {need} that {runtime} opens")
        limits = fields.part("limits")
        _check_figures(fields)
        return cls(
            fields.text("id"),
            runtime,
            precision,
            files,
            models[0],
            {
                LIMITS[0]: limits.number(LIMITS[0], 0, 1e9),
                LIMITS[1]: limits.number(LIMITS[1], 0, 1),
                LIMITS[2]: limits.number(LIMITS[2], -1000, 1000),
            },
            tuple(Proven.from_json(p) for p in fields.parts("proven_on"))
            if fields.given("proven_on")
            else (),
            fields.flag("passed") if fields.given("passed") else None,
        )

    @property
    def proper_id(self) -> str:
        """What `export` calls such an artifact: the runtime and the precision."""
        return f"{_FAMILIES[self.runtime]}-{self.precision}"


@dataclass(frozen=True)
class GoldenRecord:
    """The encoded golden images, in the order of the stored pixels and logits, and every file below `golden/`."""

    images: tuple[str, ...]
    files: tuple[FileRecord, ...]

    @classmethod
    def from_json(cls, fields: Fields) -> GoldenRecord:
        """Raises `BundleError`, for no image at all too."""
        images = tuple(inside(fields, "images", name) for name in fields.texts("images"))
        if not 1 <= len(images) <= MOST_GOLDENS or len(set(images)) != len(images):
            raise fields.fault("images", f"1 to {MOST_GOLDENS} different paths")
        if len(fields.items("files")) > MOST_GOLDENS + 2:
            raise fields.fault("files", f"a list of at most {MOST_GOLDENS + 2} files")
        return cls(images, tuple(FileRecord.from_json(part) for part in fields.parts("files")))


@dataclass(frozen=True)
class BundleRecord:
    """What the device needs of `bundle.json`; `raw` is all of it, for reports."""

    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    artifacts: tuple[ArtifactRecord, ...]
    golden: GoldenRecord
    recommended: str | None
    report: FileRecord | None
    raw: dict[str, Any]

    @classmethod
    def from_json(cls, record: object, where: str) -> BundleRecord:
        """Raises `BundleError` that names the first key that is not as `export` writes it, in the file `where`."""
        fields = Fields(record, f"{where}: ")
        for key in ("name", "labels", "preprocess", "reference", "artifacts", "golden", "provenance"):
            fields.value(key)
        labels = tuple(_label(label, where) for label in fields.texts("labels"))
        if not 1 <= len(labels) <= MOST_CLASSES or len(set(labels)) != len(labels):
            raise fields.fault("labels", "a list of different texts, one for each class")
        reference = fields.part("reference")
        _check_figures(reference)
        fields.part("provenance")
        if fields.given("gates"):
            fields.items("gates")
        try:
            contract = Preprocess.from_json(fields.part("preprocess").record)
        except BundleError as error:
            raise BundleError(f"{where}: {error}") from None
        for key in contract.to_json():  # whose defaults are for people, not for records
            fields.part("preprocess").value(key)
        if not 1 <= len(fields.items("artifacts")) <= MOST_ARTIFACTS:
            raise fields.fault("artifacts", f"a list of at least one artifact, {MOST_ARTIFACTS} at most")
        artifacts = tuple(ArtifactRecord.from_json(part) for part in fields.parts("artifacts"))
        if steers(fields.text("name")):
            raise fields.fault("name", "text without control characters")
        recommended = fields.text("recommended") if fields.given("recommended") else None
        return cls(
            fields.text("name"),
            labels,
            contract,
            artifacts,
            GoldenRecord.from_json(fields.part("golden")),
            recommended,
            FileRecord.from_json(fields.part("report")) if fields.given("report") else None,
            fields.record,
        )

    @property
    def files(self) -> list[FileRecord]:
        """Every file that a device needs beside `bundle.json`."""
        return [*(file for artifact in self.artifacts for file in artifact.files), *self.golden.files]

    def check(self, where: str) -> None:
        """Raises `BundleError` where the record contradicts itself; call it when the seal has been checked, because
        an altered record is better called that."""
        ids = [artifact.id for artifact in self.artifacts]
        paths = [file.path for file in self.files]
        for artifact in self.artifacts:
            if artifact.id != artifact.proper_id:
                raise BundleError(
                    f"{where}: artifact {artifact.id!r} is {artifact.precision} of {artifact.runtime}, which is "
                    f"{artifact.proper_id!r}. Do not use this bundle."
                )
        for what, names in (("artifact", ids), ("file", paths)):
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise BundleError(f"{where}: {what} {twice[0]!r} is there twice. Do not use this bundle.")
        if any(artifact.id == self.recommended and artifact.passed is False for artifact in self.artifacts):
            raise BundleError(
                f"{where}: recommended {self.recommended!r} did not pass its gates. Do not use this bundle."
            )
        if self.recommended is not None and self.recommended not in ids:
            raise BundleError(
                f"{where}: recommended {self.recommended!r} is none of its artifacts. Do not use this bundle."
            )


def _label(label: str, where: str) -> str:
    try:
        return check_label(label, where)
    except BadInput as error:
        raise BundleError(f"{where}: labels: {error}") from None


def inside(fields: Fields, key: str, name: str) -> str:
    """`name`, a path below the bundle's folder. Raises `BundleError`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BundleError(
            f"{fields.where}: file {name[:200]!r} lies outside the bundle. Do not use this bundle."
        )
    if str(path) != name or len(path.parts) > 4 or not all(map(_PART.fullmatch, path.parts)):
        raise fields.fault(key, "a plain path below the bundle's folder")
    return name


def _files_of(main: str) -> list[str]:
    path = PurePosixPath(main)
    return [main] if path.suffix == ".onnx" else [main, str(path.with_suffix(".bin"))]


def _check_figures(fields: Fields) -> None:
    """What a person or a program is told about an artifact, where it is told: numbers are numbers or null."""
    for key in ("accuracy", "agreement"):
        if fields.given(key):
            fields.number(key, 0, 1)
    if fields.given("n"):
        fields.whole("n", 0, 1 << 53)
    for key in ("drop_pp", "max_abs_diff", "speedup", "faster_than_fp32"):
        if fields.given(key):
            fields.number(key)
    for key in ("drop_ci_pp", "speedup_ci", "faster_than_fp32_ci"):
        if fields.given(key):
            fields.numbers(key, 2)
    if fields.given("latency_ms"):
        latency = fields.part("latency_ms")
        for key in ("p50", "p90", "p95", "p99"):
            if latency.given(key):
                latency.number(key, 0)
    if fields.given("reasons"):
        fields.texts("reasons", empty=True)
    for key in ("ran", "confidence"):
        if fields.given(key):
            fields.part(key)
