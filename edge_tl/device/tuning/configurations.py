"""What may be picked on this machine: the artifacts that pass the gates, on every device that works. Times nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from edge_tl.device import gates
from edge_tl.device.bench.workers import Workload, reason
from edge_tl.device.bench.workloads import Placement, workloads
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput, EdgeTLError, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.timing import SkippedRecord
from edge_tl.device.records.verification import VerifyResult
from edge_tl.device.runtimes.families import BY_NAME, FAMILIES
from edge_tl.device.runtimes.try_device import try_device
from edge_tl.device.tuning.options import TuneOptions
from edge_tl.device.tuning.pick_file import failed_at_export

CPU = "CPU"
# AUTO is one of the others; Azure asks a server.
_NOT_TRIED = {CPU, "AUTO", "Azure"}


@dataclass(frozen=True)
class Configuration:
    """An artifact on a device, with so many CPU threads."""

    artifact: Artifact
    device: str
    threads: int

    @property
    def id(self) -> str:
        """What it is called while it is timed, and for a person."""
        return f"{self.artifact.id}{self.where}"

    @property
    def where(self) -> str:
        """ ", 2 threads", or another device than the CPU: " on GPU"."""
        if self.on_cpu:
            return f", {self.threads} thread{'' if self.threads == 1 else 's'}"
        return f" on {self.device}"

    @property
    def on_cpu(self) -> bool:
        """Whether threads matter."""
        return self.device.upper() == CPU

    def workload(self, bundle: Bundle) -> Workload:
        """As something to time."""
        place = Placement(self.device, threads=self.threads)
        (found,) = workloads(bundle, [self.artifact], place=place)
        return Workload(self.id, found.module, found.spec)


@dataclass
class Qualified:
    """The artifacts that pass here, by device; what was left out, and what a person should know."""

    by_device: dict[str, list[Artifact]] = field(default_factory=dict)
    skipped: list[SkippedRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, more: Qualified) -> None:
        """All that `more` has, too; a warning once."""
        for device, artifacts in more.by_device.items():
            self.by_device.setdefault(device, []).extend(artifacts)
        self.skipped += more.skipped
        self.warnings += [said for said in more.warnings if said not in self.warnings]


def qualify(bundle: Bundle, options: TuneOptions, listener: Listener = SILENT) -> Qualified:
    """Run the three gates on the device asked for, else on every one that works here.

    Raises `BadInput` for an artifact that the bundle lacks, for some that cannot be compared, and for a device that
    nothing here has, `MissingExtra` where no runtime is installed, `FellBack` where the device that was asked for did
    not run it.
    """
    found = Qualified()
    considered = _comparable(bundle, options, found)
    for artifact in considered:  # one that is named too: predict and open never use it unasked
        if why := failed_at_export(bundle.record, artifact.record):
            found.skipped.append(SkippedRecord(artifact=artifact.id, reason=why))
    left_out = {entry.artifact for entry in found.skipped}
    chosen = [artifact for artifact in considered if artifact.id not in left_out]
    if not chosen:
        return found
    asked = options.device and (CPU if options.device.upper() == CPU else options.device)
    found.add(_on_device(bundle, chosen, asked or CPU, listener, required=True))
    for device in () if asked else _others(chosen, found.skipped):
        found.add(_on_device(bundle, chosen, device, listener, required=False))
    return found


def _comparable(bundle: Bundle, options: TuneOptions, found: Qualified) -> list[Artifact]:
    """Those asked for, or all; where some take tensors, those of raw pixels are left out: their time holds the
    preprocessing, which the others' does not. Raises `BadInput` where both kinds are asked for."""
    asked = [bundle.artifact(name) for name in options.artifacts] or bundle.artifacts
    tensors = [artifact for artifact in asked if not artifact.takes_pixels]
    if not tensors or len(tensors) == len(asked):
        return list(asked)
    raw = [artifact.id for artifact in asked if artifact.takes_pixels]
    if options.artifacts:
        raise BadInput(
            f"--artifact {raw[0]}: its time holds the preprocessing, and that of {tensors[0].id} does not. Tune those "
            "that take raw pixels alone, or those on tensors."
        )
    why = "takes raw pixels, and its time holds the preprocessing: name it with --artifact"
    found.skipped += [SkippedRecord(artifact=name, reason=why) for name in raw]
    return tensors


def _others(artifacts: Sequence[Artifact], skipped: list[SkippedRecord]) -> Iterator[str]:
    """The devices besides the CPU on which a tiny model runs; why the others are left out goes into `skipped`."""
    wanted = {artifact.runtime for artifact in artifacts}
    for family in FAMILIES:
        if family.name not in wanted:
            continue
        names: list[str] = []
        with suppress(MissingExtra):
            names = [name for name in BY_NAME[family.name].load().offered().names if name not in _NOT_TRIED]
        for name in names:
            trial = try_device(family.name, name)
            if trial.works:
                yield name
            else:
                skipped.append(SkippedRecord(artifact=f"{family.prefix} on {name}", reason=str(trial.reason)))


def _on_device(
    bundle: Bundle, artifacts: Sequence[Artifact], device: str, listener: Listener, *, required: bool
) -> Qualified:
    """What passes on `device`: all at once; where one of them cannot even be opened, each alone. Raises where none can
    and the device is `required`."""
    try:
        result = gates.verify(bundle, artifacts=[a.id for a in artifacts], device=device, listener=listener)
        return _passed(result, artifacts, device)
    except MissingExtra:
        raise
    except EdgeTLError as error:
        failure = error
    found = Qualified()
    for artifact in artifacts:
        try:
            result = gates.verify(bundle, artifacts=[artifact.id], device=device, listener=listener)
            found.add(_passed(result, [artifact], device))
        except EdgeTLError as error:
            failure = error
            name = f"{artifact.id}{_on(device)}"
            found.skipped.append(SkippedRecord(artifact=name, reason=reason(error)))
    if required and len(found.skipped) == len(artifacts) and not found.by_device:
        raise failure
    return found


def _passed(result: VerifyResult, artifacts: Sequence[Artifact], device: str) -> Qualified:
    """The artifacts whose gates passed, with what `verify` warns of them."""
    found = Qualified()
    for artifact in (artifact for artifact in artifacts if artifact.id in result.ran):
        failed = [gate for gate in result.gates if gate.artifact in (None, artifact.id) and not gate.passed]
        if failed:
            why = f"failed the {failed[0].gate} gate here: {failed[0].reason}"
            found.skipped.append(SkippedRecord(artifact=f"{artifact.id}{_on(device)}", reason=why))
            continue
        found.by_device.setdefault(device, []).append(artifact)
        found.warnings += [said for said in result.warnings if said.startswith(artifact.id)]
    found.skipped += [replace(each, artifact=f"{each.artifact}{_on(device)}") for each in result.skipped]
    return found


def _on(device: str) -> str:
    return "" if device == CPU else f" on {device}"
