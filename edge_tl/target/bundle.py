"""The deployable folder: `bundle.json`, the model files, the goldens; read it, write its record, refuse it.

A folder without `bundle.json` is no bundle, because that file is written last. It must not run a model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import BadInput, BundleError
from edge_tl.target.files import read_json, sha256_file, write_json

SCHEMA_VERSION = 1
RECORD = "bundle.json"
GOLDEN_PIXELS = "golden/pixels.npz"
GOLDEN_LOGITS = "golden/logits.npz"
REFERENCE = "pytorch"
LIMITS = ("device_max_abs_diff", "golden_agreement", "max_drop_pp")

_REQUIRED = (
    "schema_version",
    "name",
    "labels",
    "preprocess",
    "reference",
    "artifacts",
    "golden",
    "provenance",
)


@dataclass(frozen=True)
class Artifact:
    """One exported model of a bundle; `path` is the file a runtime opens."""

    id: str
    runtime: str
    precision: str
    path: Path
    limits: dict[str, float]
    record: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked against their hashes."""

    root: Path
    record: dict[str, Any]
    labels: list[str]
    preprocess: Preprocess
    artifacts: list[Artifact]

    def artifact(self, artifact_id: str) -> Artifact:
        """Raises `BadInput` when the bundle has no such artifact."""
        for artifact in self.artifacts:
            if artifact.id == artifact_id:
                return artifact
        have = ", ".join(a.id for a in self.artifacts)
        raise BadInput(f"no artifact {artifact_id!r} in {self.root}. Choose one of {have}.")

    def reading(self, max_pixels: int | None) -> Bundle:
        """The same bundle, which decodes images of up to `max_pixels`; Pillow's limit when None. Only the caller may
        raise it: nothing that a bundle holds does."""
        return replace(self, preprocess=replace(self.preprocess, max_pixels=max_pixels))

    def golden_images(self) -> list[Path]:
        """The encoded golden images, in the order of the stored pixels and logits."""
        return [self.root / name for name in self.record["golden"]["images"]]

    def golden_pixels(self) -> NDArray[np.float32]:
        """What `preprocess.apply` gave for the golden images on the host: float32 `(n, 3, H, W)`."""
        return _arrays(self.root / GOLDEN_PIXELS)["pixels"]

    def golden_logits(self) -> dict[str, NDArray[np.float32]]:
        """Host logits `(n, classes)` on the stored pixels, by artifact id, and PyTorch's under "pytorch"."""
        return _arrays(self.root / GOLDEN_LOGITS)


def file_record(root: Path, name: str) -> dict[str, Any]:
    """`{path, sha256, bytes}` of a file of the bundle."""
    path = root / name
    return {"path": name, "sha256": sha256_file(path), "bytes": path.stat().st_size}


def write_record(root: Path, record: dict[str, Any]) -> None:
    """Seal `record` and write it as `bundle.json`, atomically; this makes the folder a bundle."""
    record = record | {"contract_seal": contract_seal(record)}
    write_json(root / RECORD, record | {"seal": seal(record)})


def contract_seal(record: dict[str, Any]) -> str:
    """SHA-256 of the preprocessing contract, apart from `seal` so that the pixels gate can name the fault."""
    return hashlib.sha256(json.dumps(record["preprocess"], sort_keys=True).encode()).hexdigest()


def seal(record: dict[str, Any]) -> str:
    """SHA-256 over what no other check covers: file lists are proven by their hashes, the preprocessing contract
    by the pixels gate."""
    rest: dict[str, Any] = json.loads(json.dumps(record))
    for key in ("seal", "preprocess"):
        rest.pop(key, None)
    for part in (*rest.get("artifacts", []), rest.get("golden", {})):
        part.pop("files", None)
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_bundle(root: Path) -> Bundle:
    """Read and check a bundle: schema, every file's size and SHA-256, the seal of the record.

    Raises `BundleError` that names the first file or field that is not as it was exported.
    """
    if not root.is_dir():
        inside = (
            f"its folder: {root.parent}" if root.name == RECORD else "the folder that `edge-tl export` wrote"
        )
        raise BundleError(f"no such bundle: {root}. Give {inside}.")
    if not (root / RECORD).is_file():
        raise BundleError(
            f"not a bundle: {root} has no {RECORD}. Give a folder that `edge-tl export` finished."
        )
    record = read_json(root / RECORD)
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{root / RECORD}: schema_version {version!r}, this edge-tl reads {SCHEMA_VERSION}. "
            "Use the edge-tl version that wrote it, or export again."
        )
    if missing := [key for key in _REQUIRED if key not in record]:
        raise BundleError(f"{root / RECORD}: no {missing[0]!r}. The file is damaged; copy the bundle again.")
    try:
        _check_files(root, record)
        if record.get("seal") != seal(record):
            raise BundleError(
                f"{root / RECORD} was altered after export. Copy the bundle again, or export again."
            )
        artifacts = [_artifact(root, entry) for entry in record["artifacts"]]
        return Bundle(
            root, record, list(record["labels"]), Preprocess.from_json(record["preprocess"]), artifacts
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(
            f"{root / RECORD}: not as export writes it ({type(error).__name__}: {error}). Copy it again."
        ) from None


def _check_files(root: Path, record: dict[str, Any]) -> None:
    if unlisted := set(record["golden"]["images"]) - {f["path"] for f in record["golden"]["files"]}:
        raise BundleError(
            f"{root / RECORD}: golden image {min(unlisted)!r} has no hash. Copy the bundle again."
        )
    for entry in [f for a in record["artifacts"] for f in a["files"]] + record["golden"]["files"]:
        name = PurePosixPath(entry["path"])
        if name.is_absolute() or ".." in name.parts:
            raise BundleError(
                f"{root / RECORD}: file {entry['path']!r} lies outside the bundle. Do not use it."
            )
        path = root / name
        if not path.is_file():
            raise BundleError(f"missing file in bundle: {path}. Copy the bundle again.")
        if path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
            raise BundleError(
                f"damaged file in bundle: {path} is not what was exported. Copy the bundle again."
            )


def _artifact(root: Path, entry: dict[str, Any]) -> Artifact:
    names = [f["path"] for f in entry["files"]]
    [main] = [name for name in names if name.endswith((".onnx", ".xml"))]
    if main.endswith(".xml") and main.replace(".xml", ".bin") not in names:
        raise ValueError(f"{main} without its .bin")
    limits = {key: float(entry["limits"][key]) for key in LIMITS}
    return Artifact(entry["id"], entry["runtime"], entry["precision"], root / main, limits, entry)


def _arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
