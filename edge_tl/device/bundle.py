"""The deployable folder: `bundle.json`, the model files, the goldens; read it, write its record, refuse it.

A folder without `bundle.json` is no bundle, because that file is written last. Every verb reads through `read_bundle`,
which trusts nothing in it. Runs no model.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.arrays import Shape, read_arrays, shapes_of
from edge_tl.device.bundle_files import AGAIN, check_below, check_file, refuse_unlisted
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.files import read_json, sha256_file, write_json
from edge_tl.device.model_metadata import facts_of
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.artifact import ArtifactRecord, FileRecord, LimitsRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.stages import STAGES_FILE, STAGES_RECORD, has_stages, sample_shapes

if TYPE_CHECKING:
    from edge_tl.device.model import Model

SCHEMA_VERSION: Literal[2] = 2
_READ = (1, SCHEMA_VERSION)
# Version 1 has no seal over its lists of files; `_check_files` and the hashes cover them.
RECORD = "bundle.json"
REPORT = "report.json"
README = "README.txt"
GOLDEN_PIXELS = "golden/pixels.npz"
GOLDEN_LOGITS = "golden/logits.npz"
REFERENCE = "pytorch"
_MOST_JSON = 16 << 20  # bytes; ours have less than 200 KB
MOST_PIXELS = 64 << 20  # bytes of goldens of another size than the contract's, which show that it was altered


@dataclass(frozen=True)
class Artifact:
    """One exported model of a bundle; `path` is the file that a runtime opens."""

    record: ArtifactRecord
    path: Path

    @property
    def id(self) -> str:
        """The runtime and the precision, e.g. "onnx-int8"."""
        return self.record.id

    @property
    def runtime(self) -> str:
        """ "onnxruntime" or "openvino"."""
        return self.record.runtime

    @property
    def precision(self) -> str:
        """ "fp32", "int8", "fp16" or "w8"."""
        return self.record.precision

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes raw pixels, see `ArtifactRecord`."""
        return self.record.takes_pixels

    @property
    def limits(self) -> LimitsRecord:
        """What the gates allow."""
        return self.record.limits


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked: its record by type and seal, its files by size and SHA-256. With `contract_unproven`
    the contract was checked against nothing: that is left to the pixels gate."""

    root: Path
    record: BundleRecord
    preprocess: Preprocess
    artifacts: list[Artifact]
    contract_unproven: bool = False

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the logits."""
        return list(self.record.labels)

    def artifact(self, artifact_id: str) -> Artifact:
        """Raises `BadInput` when the bundle has no such artifact."""
        for artifact in self.artifacts:
            if artifact.id == artifact_id:
                return artifact
        have = ", ".join(a.id for a in self.artifacts)
        raise BadInput(f"no artifact {artifact_id!r} in {self.root}. Choose one of {have}.")

    def open(
        self, artifact: str | None = None, device: str | None = None, *, allow_fallback: bool = False
    ) -> Model:
        """Load `artifact` on `device`. Where neither is asked for, what `edge-tl tune` picked for this machine; without
        a pick the best artifact that runs on `device` (None: the CPU): the recommended one, else the fastest that
        passed its gates. The model's `note` says which pick was used, or why one was not.

        Raises `BadInput` for an artifact or a device that is not there and where all that could run here failed its
        gates, `MissingExtra` where no runtime is installed, and `FellBack` when another device ran than asked for,
        unless `allow_fallback`.
        """
        from edge_tl.device.model import open_model

        return open_model(self, artifact, device, allow_fallback=allow_fallback)

    def reading(self, max_pixels: int | None) -> Bundle:
        """The same bundle, which decodes images of up to `max_pixels`; Pillow's limit when None. Only the caller may
        raise it: nothing that a bundle holds does."""
        return replace(self, preprocess=replace(self.preprocess, max_pixels=max_pixels))

    def golden_images(self) -> list[Path]:
        """The encoded golden images, in the order of the stored pixels and logits."""
        return [self.root / name for name in self.record.golden.images]

    def golden_pixels(self) -> NDArray[np.float32]:
        """What `preprocess.apply` gave for the golden images on the host: float32 `(n, 3, H, W)`. `H` and `W` are the
        contract's, unless that is unproven."""
        return read_arrays(self.root / GOLDEN_PIXELS, self._pixels())["pixels"]

    def golden_logits(self) -> dict[str, NDArray[np.float32]]:
        """Host logits `(n, classes)` on the stored pixels, by artifact id, and PyTorch's under "pytorch"."""
        return read_arrays(self.root / GOLDEN_LOGITS, self._logits())

    def check_goldens(self) -> None:
        """Raises `BundleError` where the stored arrays are not of the record's images, contract, artifacts and labels;
        with an unproven contract, where they have another size than its and more than `MOST_PIXELS`."""
        found = shapes_of(self.root / GOLDEN_PIXELS, self._pixels())["pixels"]
        if found[2:] != self.preprocess.input_size and 4 * int(np.prod(found)) > MOST_PIXELS:
            raise BundleError(f"damaged file in bundle: {self.root / GOLDEN_PIXELS}: {found} pixels. {AGAIN}")
        shapes_of(self.root / GOLDEN_LOGITS, self._logits())
        if has_stages(self.record.golden):
            shapes_of(self.root / STAGES_FILE, sample_shapes(self.record.golden), dtype=np.uint8)

    def _pixels(self) -> dict[str, Shape]:
        size = (None, None) if self.contract_unproven else self.preprocess.input_size
        return {"pixels": (len(self.record.golden.images), 3, *size)}

    def _logits(self) -> dict[str, Shape]:
        names = [REFERENCE, *(artifact.id for artifact in self.artifacts)]
        return dict.fromkeys(names, (len(self.record.golden.images), len(self.labels)))


def file_record(root: Path, name: str) -> FileRecord:
    """The record of the file `name` below `root` as it is now."""
    path = root / name
    return FileRecord(name, sha256_file(path), path.stat().st_size)


def write_record(root: Path, record: BundleRecord) -> None:
    """Seal `record` and write it as `bundle.json`, atomically; this makes the folder a bundle. What the device does not
    need goes into `report.json`, which `read_report` reads."""
    whole = replace(record, report=None, contract_seal=None, seal=None)
    device = whole.for_device()
    if device != whole:
        write_json(root / REPORT, whole.to_json())
        device = replace(device, report=file_record(root, REPORT))
    write_sealed(root, device.to_json())


def write_sealed(root: Path, content: dict[str, Any]) -> None:
    """Write `content` as `bundle.json`, with the two seals over it."""
    content = content | {"contract_seal": contract_seal(content["preprocess"])}
    write_json(root / RECORD, content | {"seal": seal(content)})


def contract_seal(contract: dict[str, Any]) -> str:
    """SHA-256 of the preprocessing contract; a seal of its own lets the pixels gate name what was altered."""
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


def seal(content: dict[str, Any]) -> str:
    """SHA-256 of all of `bundle.json` but `preprocess`, whose own seal it covers; in version 1, of all but the lists of
    files too. It shows damage; it proves no origin."""
    rest = {key: value for key, value in content.items() if key not in ("seal", "preprocess")}
    if rest.get("schema_version") == 1:
        parts = [_without_files(part) for part in rest["artifacts"]]
        rest |= {"artifacts": parts, "golden": _without_files(rest["golden"])}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _without_files(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "files"}


def read_bundle(root: Path, *, contract_unproven: bool = False) -> Bundle:
    """Read and check a bundle: schema and types, every file's size and SHA-256, the seals, and whether the record, the
    goldens and what the model files say of themselves agree.

    `contract_unproven` leaves the preprocessing contract to the pixels gate, as `verify` does, which then names what is
    wrong with it; all other verbs refuse one that was altered. Raises `BundleError` that names the first file or field
    that is not as it was exported.
    """
    content = _content(root)
    where = str(root / RECORD)
    record = BundleRecord.from_json(content, where, newer_keys=True)
    _check_files(root, record)
    if record.seal != seal(content):
        raise BundleError(f"{where} was altered after export. {AGAIN}")
    record.check_consistent(where)
    if not contract_unproven and contract_is_altered(record):
        raise BundleError(f"{where}: the preprocessing was altered after export. {AGAIN}")
    artifacts = [Artifact(each, root / each.main) for each in record.artifacts]
    bundle = Bundle(root, record, record.preprocess, artifacts, contract_unproven)
    bundle.check_goldens()
    for artifact in artifacts:
        _check_model_file(bundle, artifact)
    return bundle


def contract_is_altered(record: BundleRecord) -> bool:
    """Whether the contract is another than the one that was sealed."""
    return record.contract_seal != contract_seal(record.preprocess.to_json())


def read_report(root: Path) -> BundleRecord:
    """The whole record of a bundle, with what the device does not need; without that where the bundle was copied or
    slimmed without `report.json`. Raises `BundleError`."""
    record = read_bundle(root).record
    if record.report is None or not os.path.lexists(root / record.report.path):
        return record
    path = check_file(root, record.report)
    return BundleRecord.from_json(read_json(path), str(path), newer_keys=True)


def _content(root: Path) -> dict[str, Any]:
    """`bundle.json` as it is, of a version that this edge-tl reads."""
    path = root / RECORD
    if not root.is_dir():
        inside = (
            f"its folder: {root.parent}" if root.name == RECORD else "the folder that `edge-tl export` wrote"
        )
        raise BundleError(f"no such bundle: {root}. Give {inside}.")
    if not path.is_file():
        fault = f"has no {RECORD}. Give a folder that `edge-tl export` finished."
        if (root / "run.json").is_file():
            fault = f"is a run. Make a bundle of it: edge-tl export {quote(str(root))}."
        raise BundleError(f"not a bundle: {root} {fault}")
    check_below(root, path)
    content = read_json(path, most=_MOST_JSON)
    version = content.get("schema_version")
    if type(version) is not int or version not in _READ:
        shown = repr(version) if isinstance(version, int | str | None) else "of another type"
        raise BundleError(
            f"{path}: schema_version {shown[:40]}, this edge-tl reads 1 and {SCHEMA_VERSION}. "
            "Use the edge-tl version that wrote it, or export again."
        )
    return content


def _check_files(root: Path, record: BundleRecord) -> None:
    """Raises `BundleError` for a file that is missing, damaged or no file, and for files that no hash covers."""
    listed = {file.path for file in record.golden.files}
    stored = {GOLDEN_PIXELS, GOLDEN_LOGITS, *record.golden.images}
    stored |= {STAGES_FILE, STAGES_RECORD} if listed & {STAGES_FILE, STAGES_RECORD} else set()
    if bare := sorted(stored - listed):
        raise BundleError(f"{root / RECORD}: golden file {bare[0]!r} has no hash. {AGAIN}")
    if extra := sorted(listed - stored):
        raise BundleError(f"{root / RECORD}: golden file {extra[0]!r} is none of its images. {AGAIN}")
    if record.readme is not None and record.readme.path != README:
        raise BundleError(f"{root / RECORD}: readme is {record.readme.path!r}, not {README}. {AGAIN}")
    for file in dict.fromkeys(record.files):  # hashed once, however often it is listed
        check_file(root, file)
    refuse_unlisted(root, {RECORD, *(file.path for file in record.files)})


def _check_model_file(bundle: Bundle, artifact: Artifact) -> None:
    """Raises `BundleError` where the labels or the contract in a model's own metadata are not the record's, or where it
    has none, which only version 1 may."""
    said, kind = facts_of(artifact.path)
    if kind != artifact.record.input:
        lies = f"its record calls the input of {artifact.path.name} {artifact.record.input!r}, and it is {kind!r}"
        raise BundleError(f"{bundle.root / RECORD}: {lies}. Do not use this bundle.")
    if said is None:
        if bundle.record.schema_version == 1:
            return
        raise BundleError(
            f"{artifact.path.name} says nothing of its labels and preprocessing, so the record's cannot be checked. "
            "Export again."
        )
    if said.get("labels") != bundle.labels:
        raise BundleError(
            f"{bundle.root / RECORD}: its labels are not those in {artifact.path.name}. Do not use this bundle."
        )
    if not bundle.contract_unproven and said.get("preprocess") != bundle.record.preprocess.to_json():
        raise BundleError(
            f"{bundle.root / RECORD}: its preprocessing is not that in {artifact.path.name}. Do not use this bundle."
        )
