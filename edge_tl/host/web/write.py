"""A bundle's ONNX artifacts as a folder that any static web server serves; it runs no model.

The page verifies the goldens, measures latency and classifies pictures in the browser, with no request beyond the
folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl import __version__
from edge_tl.device.bundle import REFERENCE, Artifact, Bundle, file_record
from edge_tl.device.bundle_files import check_file
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.files import fsync_folder, read_json, umask, write_json
from edge_tl.device.pixels_gate import PIXEL_LIMIT_LEVELS
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.artifact import FileRecord
from edge_tl.device.text import printable
from edge_tl.host.web.ort_web import PACKAGE, OrtWeb
from edge_tl.host.web.record import WebArtifact, WebGoldens, WebLogits, WebProvider, WebRecord, WebRuntime

RECORD = "web.json"
_PAGE = "index.html"
_HASH = "RECORD-SHA256"  # stands in the page for the hash of its record
_RESIZES = ("shorter", "exact", "letterbox", "none")  # that preprocess.js knows


def web_folder(bundle: Path) -> Path:
    """Where the folder for browsers goes unless asked otherwise: beside the bundle, whose own folder stays sealed."""
    bundle = bundle.absolute()
    return bundle.with_name(f"{bundle.name}-web")


def check_web_folder(out: Path, *, overwrite: bool) -> None:
    """Raises `BadInput` where `out` holds anything, but for a folder of ours that is to be overwritten."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise BadInput(f"{out}: a file is there. Choose a new folder with --out.")
    if not ((out / RECORD).is_file() and (out / _PAGE).is_file()):
        raise BadInput(
            f"{out}: the folder is not empty, and no page of edge-tl. Choose a new one with --out."
        )
    if not overwrite:
        raise BadInput(
            f"{out}: a page is there already. Add --overwrite, or choose another folder with --out."
        )
    if added := sorted(_files_in(out) - _files_of_page(out)):
        raise BadInput(
            f"{out}: {printable(added[0])} is not of the page, and would go with it. Move it, or choose another folder "
            "with --out."
        )


def _files_in(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}


def _files_of_page(out: Path) -> set[str]:
    """What `write_web` has written there, by its record. Raises `BundleError` for a record that is not whole."""
    record = WebRecord.from_json(read_json(out / RECORD), str(out / RECORD), newer_keys=True)
    golden, providers = record.golden, record.runtime.providers
    files = [*(each.file for each in record.artifacts), *golden.images, golden.pixels]
    files += [each.file for each in golden.logits]
    files += [file for provider in providers for file in provider.files]
    page = resources.files("edge_tl.host.web").joinpath("page").iterdir()
    return {RECORD, *(each.name for each in page), *(file.path for file in files)}


def write_web(
    bundle: Bundle, out: Path, ort: OrtWeb, *, artifacts: Sequence[str] = (), overwrite: bool = False
) -> WebRecord:
    """Write `artifacts` of `bundle` (by default every ONNX artifact on tensors that passed at export) and the page into
    `out`, whole or not at all; returns what `web.json` says.

    Raises `BadInput` for artifacts that no page can run, a runtime that is too old for their opset, and where `out`
    holds anything else.
    """
    check_web_folder(out, overwrite=overwrite)
    if out.resolve() == bundle.root.resolve() or bundle.root.resolve() in out.resolve().parents:
        raise BadInput(f"--out {out}: that is the bundle itself, or inside it. Give a folder elsewhere.")
    chosen = _chosen(bundle, artifacts)
    for artifact in chosen:
        _check_floor(artifact, ort)
    if bundle.preprocess.resize not in _RESIZES:
        raise BadInput(
            f"{bundle.root}: the page does not know resize {bundle.preprocess.resize!r}, only {', '.join(_RESIZES)}."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=out.parent))
    try:
        record = _filled(bundle, chosen, ort, staging)
        _write_page(staging, record)
        staging.chmod(0o777 & ~umask())  # mkdtemp makes private folders; this one is there to be served
        _take_place(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone where it became `out`
    return record


def _take_place(staging: Path, out: Path) -> None:
    """The finished folder becomes `out`; a page that is there goes when the new one has arrived."""
    old = out.with_name(f".old-{staging.name.removeprefix('.partial-')}")
    if out.is_dir():
        os.replace(out, old)
    try:
        os.replace(staging, out)
    except OSError:
        if old.is_dir():
            os.replace(old, out)
        raise
    fsync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _chosen(bundle: Bundle, names: Sequence[str]) -> list[Artifact]:
    """Raises `BadInput`."""
    fit = runnable_in_browsers(bundle)
    if not names:
        if passed := [a for a in fit if a.record.passed is not False]:
            return passed
        raise BadInput(
            f"{bundle.root}: it has no ONNX artifact that takes tensors and passed at export; the page runs no other."
        )
    chosen = [bundle.artifact(name) for name in dict.fromkeys(names)]
    if unfit := [a.id for a in chosen if a not in fit]:
        have = ", ".join(a.id for a in fit) or "none here"
        raise BadInput(f"--artifact {unfit[0]}: the page runs ONNX artifacts that take tensors: {have}.")
    return chosen


def runnable_in_browsers(bundle: Bundle) -> list[Artifact]:
    """The ONNX artifacts that take tensors: the page preprocesses itself, and verifies what it made."""
    return [a for a in bundle.artifacts if a.runtime == "onnxruntime" and not a.record.takes_pixels]


def _check_floor(artifact: Artifact, ort: OrtWeb) -> None:
    """Raises `BadInput` where the file needs a newer ONNX Runtime: onnxruntime-web has its version."""
    found = re.fullmatch(r"onnxruntime>=(\d+)\.(\d+).*", artifact.record.runtime_floor or "")
    if found and ort.number < (int(found[1]), int(found[2])):
        raise BadInput(
            f"{artifact.id} needs {artifact.record.runtime_floor} for its opset {artifact.record.opset}; --ort-web has "
            f"{PACKAGE} {ort.version}. Bring a newer one."
        )


def _filled(bundle: Bundle, chosen: list[Artifact], ort: OrtWeb, root: Path) -> WebRecord:
    """Every file but the page and its record, written below `root`, and what the record says of them."""
    passed = [a for a in chosen if a.record.passed is not False] or chosen
    opened = next((a for a in passed if a.id == bundle.record.recommended), None)
    opened = opened or next((a for a in passed if a.precision == "int8"), passed[0])
    return WebRecord(
        schema_version=1,
        edge_tl=__version__,
        name=bundle.record.name,
        labels=bundle.record.labels,
        preprocess=replace(bundle.preprocess, max_pixels=None),
        pixel_limit_levels=PIXEL_LIMIT_LEVELS,
        artifacts=tuple(_artifact(bundle, each, root) for each in chosen),
        opened=opened.id,
        golden=_goldens(bundle, chosen, root),
        runtime=_runtime(ort, root),
        bundle_seal=bundle.record.seal,
    )


def _artifact(bundle: Bundle, artifact: Artifact, root: Path) -> WebArtifact:
    record = artifact.record
    (file,) = record.files
    shutil.copyfile(check_file(bundle.root, file), root / Path(file.path).name)
    return WebArtifact(
        id=record.id,
        precision=record.precision,
        file=file_record(root, Path(file.path).name),
        limits=record.limits,
        requires=record.requires,
        accuracy=record.accuracy,
        drop_pp=record.drop_pp,
        drop_ci_pp=record.drop_ci_pp,
        failed=bundle.record.failed_at_export(record),
    )


def _goldens(bundle: Bundle, chosen: list[Artifact], root: Path) -> WebGoldens:
    known = {file.path: file for file in bundle.record.golden.files}
    for name in bundle.record.golden.images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(check_file(bundle.root, known[name]), root / name)
    levels = _levels(bundle.golden_pixels(), bundle.preprocess)
    logits = bundle.golden_logits()
    names = [REFERENCE, *(artifact.id for artifact in chosen)]
    stored = [
        WebLogits(name, _written(root, f"golden/{name}.f32", logits[name].astype("<f4").tobytes()))
        for name in names
    ]
    return WebGoldens(
        images=tuple(file_record(root, name) for name in bundle.record.golden.images),
        pixels=_written(root, "golden/pixels.u8", levels.tobytes()),
        logits=tuple(stored),
    )


def _levels(inputs: NDArray[np.float32], contract: Preprocess) -> NDArray[np.uint8]:
    """Model inputs `(n, 3, H, W)` as the uint8 `(n, H, W, 3)` that they were: a quarter of the bytes, and the page
    normalizes them itself. Raises `BundleError` where they do not give the same inputs bit for bit."""
    levels: NDArray[np.uint8] = (
        np.moveaxis(contract.levels(inputs), 1, -1).round().clip(0, 255).astype(np.uint8)
    )
    if not np.array_equal(contract.normalize(levels), inputs):
        raise BundleError(
            "the stored golden pixels are not what the contract makes of 8-bit pixels. Export again."
        )
    return levels


def _runtime(ort: OrtWeb, root: Path) -> WebRuntime:
    files = {name: _written(root, f"ort/{name}", content) for name, content in ort.files.items()}
    providers = tuple(
        WebProvider(
            "wasm" if name == "wasm" else "webgpu", f"ort/{names[0]}", tuple(files[each] for each in names)
        )
        for name, names in ort.providers.items()
    )
    return WebRuntime(PACKAGE, ort.version, ort.license, providers)


def _written(root: Path, name: str, content: bytes) -> FileRecord:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return file_record(root, name)


def _write_page(root: Path, record: WebRecord) -> None:
    """The hand-written files of the page, and `web.json`, whose hash the page holds."""
    write_json(root / RECORD, record.to_json())
    sha256 = hashlib.sha256((root / RECORD).read_bytes()).hexdigest()
    for source in resources.files("edge_tl.host.web").joinpath("page").iterdir():
        content = source.read_bytes()
        if source.name == _PAGE:
            content = content.replace(_HASH.encode(), sha256.encode())
        (root / source.name).write_bytes(content)
