"""A smaller bundle with some of the artifacts of another: for a device that runs one of them.

Runs no model and needs no PyTorch: what is kept was proven at export, and `verify` proves it again.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bundle import (
    GOLDEN_LOGITS,
    REFERENCE,
    Artifact,
    Bundle,
    file_record,
    read_bundle,
    write_record,
)
from edge_tl.device.bundle_files import check_file
from edge_tl.device.errors import BadInput
from edge_tl.device.files import check_can_make, fsync_folder, umask
from edge_tl.device.readme import with_readme
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord, SlimmedRecord
from edge_tl.device.stages import STAGES_RECORD, keep_answers


def slim(bundle: Bundle, keep: Sequence[str], out: Path) -> BundleRecord:
    """Write the artifacts `keep` of `bundle`, their goldens and a sealed record into the new folder `out`, whole or not
    at all; returns that record. `report.json` stays behind.

    The recommendation stays where its artifact does; else the fastest of those kept that passed is recommended, or
    none. Raises `BadInput` for an artifact that the bundle has not, and where `out` holds anything.
    """
    kept = [bundle.artifact(name) for name in dict.fromkeys(keep)]
    if not kept:
        raise BadInput("--keep: nothing to keep. Name an artifact, e.g. --keep onnx-int8.")
    _check_out(bundle, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=out.parent))
    try:
        _copy(bundle, kept, staging)
        logits = bundle.golden_logits()
        names = [REFERENCE, *(artifact.id for artifact in kept)]
        np.savez(staging / GOLDEN_LOGITS, allow_pickle=False, **{name: logits[name] for name in names})
        keep_answers(staging, bundle.record.golden, set(names))
        write_record(staging, with_readme(staging, _record(bundle, kept, staging, out.name)))
        staging.chmod(0o777 & ~umask())  # mkdtemp makes private folders; a bundle is there to be copied
        read_bundle(staging)
        if out.is_dir():
            out.rmdir()
        os.replace(staging, out)
        fsync_folder(out.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # ours, and gone where it became `out`
    return read_bundle(out).record


def _check_out(bundle: Bundle, out: Path) -> None:
    source, place = bundle.root.resolve(), out.resolve()
    if source == place or source in place.parents:
        raise BadInput(f"--out {out}: that is the bundle itself, or inside it. Give a folder elsewhere.")
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"--out {out}: the folder is not empty. Give a new one.")
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: a file is there. Give a new folder.")
    check_can_make(out, "--out")


def _copy(bundle: Bundle, kept: Sequence[Artifact], staging: Path) -> None:
    """The files as they are, checked again where they arrived: what was read before may have changed since."""
    files = [file for artifact in kept for file in artifact.record.files]
    for file in [*files, *bundle.record.golden.files]:
        copied = staging / file.path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.root / file.path, copied)
        check_file(staging, file)


def _record(bundle: Bundle, kept: Sequence[Artifact], staging: Path, name: str) -> BundleRecord:
    whole = bundle.record
    ids = tuple(artifact.id for artifact in kept)
    files = tuple(
        file_record(staging, file.path) if file.path in (GOLDEN_LOGITS, STAGES_RECORD) else file
        for file in whole.golden.files
    )
    record = replace(
        whole,
        name=name,
        artifacts=tuple(artifact.record for artifact in kept),
        golden=replace(whole.golden, files=files),
        provenance=replace(whole.provenance, slimmed=SlimmedRecord(whole.seal or "", ids)),
        gates=tuple(gate for gate in whole.gates if gate.artifact is None or gate.artifact in ids),
    )
    if whole.recommended in ids:
        return record
    recommended = _best(record)
    return replace(
        record,
        recommended=recommended,
        recommendation=f"{recommended or 'None'} of the artifacts that were kept is recommended; the bundle they come "
        f"from recommended {whole.recommended or 'none'}.",
    )


def _best(record: BundleRecord) -> str | None:
    """Of those that passed, the one with the least median latency, one without a latency last; the smallest where the
    machine was too busy at export to tell. As at export one that some CPUs refuse is the last choice, and FP16 and
    8-bit weights are not taken for their size."""
    passed = [artifact for artifact in record.artifacts if artifact.passed]
    pool = [artifact for artifact in passed if not artifact.requires] or passed
    if not busy_reason(record.conditions):
        return min(pool, key=_median).id if passed else None
    pool = [artifact for artifact in pool if artifact.precision in ("fp32", "int8")] or pool
    return min(pool, key=_size).id if passed else None


def _size(artifact: ArtifactRecord) -> float:
    return artifact.size_mb


def _median(artifact: ArtifactRecord) -> float:
    return math.inf if artifact.median_ms is None else artifact.median_ms
