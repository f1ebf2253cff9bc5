"""The picks beside a bundle, `tuned/MACHINE.json`: written, and read back for this machine alone.

Never a part of the sealed record. A pick may come from anybody: it is read by type and size, and can do no more than
name an artifact of the bundle, a device and a number of threads. Measures nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edge_tl.device.bench.results import machine_slug
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.bundle_files import check_below
from edge_tl.device.errors import BundleError, EdgeTLError
from edge_tl.device.files import read_json, write_json
from edge_tl.device.instructions import lacks_instructions
from edge_tl.device.machine import cores_allowed, identity, onednn_cap
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.text import printable

FOLDER = "tuned"
_MOST = 1 << 20  # bytes; ours have some 20 KB
_SLUG = 60


@dataclass(frozen=True)
class Pick:
    """What to open, and the record that says so."""

    artifact: Artifact
    device: str
    threads: int | None
    record: TunedRecord

    @property
    def note(self) -> str:
        """One line for a person: "tuned for this machine: onnx-int8, 2 threads"."""
        threads = self.record.threads
        on = "" if self.device.upper() == "CPU" else f" on {self.device}"
        also = f", {threads} thread{'' if threads == 1 else 's'}" if threads else ""
        doubt = " while it was busy" if self.record.not_judged else ""
        return f"tuned for this machine{doubt}: {self.artifact.id}{on}{also}"


def machine_id(machine: MachineRecord) -> str:
    """What stands for this machine in a pick's name: its kind in words, and a hash of CPU, instruction sets, cores
    allowed and the runtimes' versions, with any of which the fastest may be another."""
    facts = [machine.os, machine.arch, machine.cpu, machine.cores_allowed, sorted(machine.isa)]
    versions = {name: version for name, version in (machine.versions or {}).items() if version}
    told = json.dumps([*facts, sorted(versions.items()), onednn_cap()[1]])
    slug = machine_slug(machine)[:_SLUG].strip("-") or "machine"
    return f"{slug}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def pick_path(root: Path, name: str) -> Path:
    """Where the pick of the machine `name` lies."""
    return root / FOLDER / f"{name}.json"


def check_place(root: Path, name: str) -> None:
    """Refuse a bundle in which the pick of the machine `name` cannot be written, before anything is measured for it.
    Tried, not asked: permissions do not know of read-only disks. Raises `BundleError`; leaves nothing behind."""
    path = pick_path(root, name)
    _check_inside(root, path)
    folder = path.parent if path.parent.is_dir() else root
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}."):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BundleError(
            f"the pick cannot be written into {printable(root / FOLDER)} ({why}). Copy the bundle to where files can "
            "be written, and tune that."
        ) from None


def _check_inside(root: Path, path: Path) -> None:
    if os.path.lexists(path.parent):
        check_below(root, path)


def write_pick(root: Path, record: TunedRecord) -> Path:
    """Write the pick beside the bundle in `root`, atomically, over the one before; returns its path. Raises `OSError`,
    and `BundleError` where `tuned` is a link that leaves the bundle."""
    path = pick_path(root, record.machine_id)
    _check_inside(root, path)
    write_json(path, replace(record, path=None).to_json())
    return path


def own_pick(bundle: Bundle) -> tuple[Pick | None, str | None]:
    """The pick for this machine, or None; and a sentence for a person where there is one that cannot be used."""
    root = bundle.root
    if not (root / FOLDER).is_dir():
        return None, None
    name = machine_id(identity())
    path = pick_path(root, name)
    if not os.path.lexists(path):
        others = any((root / FOLDER).glob("*.json"))
        foreign = (
            f"tuned on other machines or with other versions, not for this machine as it is. {again(root)}"
        )
        return None, foreign if others else None
    try:
        return _checked(bundle, _read(root, path), name), None
    except (EdgeTLError, OSError) as error:
        why = " ".join(str(error).split()).partition(f"; {TunedRecord.advice}")[0]
        return (
            None,
            f"the pick for this machine is not used: {printable(why[:300]).rstrip('.')}. {again(root)}",
        )


def again(root: Path) -> str:
    """What to type where a pick cannot be used."""
    return f"Run edge-tl tune {printable(root)}"


def _read(root: Path, path: Path) -> TunedRecord:
    check_below(root, path)
    return TunedRecord.from_json(read_json(path, most=_MOST), path.name, newer_keys=True)


def _checked(bundle: Bundle, record: TunedRecord, name: str) -> Pick:
    """Raises `BundleError` for a pick that is not of this machine, of this bundle as it is, or for nobody to use."""
    if record.machine_id != name:
        raise BundleError("it is of another machine")
    if record.bundle_seal != bundle.record.seal:
        raise BundleError("the bundle was exported or made smaller since")
    artifact = next((each for each in bundle.artifacts if each.id == record.artifact), None)
    if artifact is None or record.device is None or record.threads is None:
        raise BundleError("it names no artifact of this bundle")
    if record.files != {file.path: file.sha256 for file in artifact.record.files}:
        raise BundleError(f"{artifact.id} is another file since")
    if why := failed_at_export(bundle.record, artifact.record) or lacks_instructions(artifact, record.device):
        raise BundleError(why)
    if record.threads > cores_allowed():
        raise BundleError(f"it asks for {record.threads} threads")
    return Pick(artifact, record.device, record.threads or None, record)


def failed_at_export(record: BundleRecord, artifact: ArtifactRecord) -> str | None:
    """Why nobody should pick it: it failed another gate at export than that of speed, which another machine decides
    anew; None where it did not."""
    said = record.failed_at_export(artifact)
    if said is None:
        return None
    mine = {
        gate.gate for gate in record.gates if gate.artifact in (artifact.id, None) and gate.passed is False
    }
    return None if mine == {"speed"} else said
