"""The gates: does this machine give the answers that the model was exported with, and if not, what differs?

    pixels   preprocess.apply(golden image)   against the stored pixels      decoder, resize
    device   this machine's logits          against the host's, same file  CPU, ISA, runtime version
    loss     this machine's logits          against PyTorch's              export, quantization

An artifact that takes raw pixels is run on the golden images that decode here as they did on the host, and its logits
are the logarithms of its probabilities. Times nothing. The limits travel with the bundle, except that of the pixels
gate, which no model moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_tl.device import metrics
from edge_tl.device.bundle import REFERENCE, Artifact, Bundle
from edge_tl.device.divergence import first_of_labels, first_of_logits
from edge_tl.device.errors import BundleError, MissingExtra
from edge_tl.device.folder_accuracy import on_folder
from edge_tl.device.images.labelled_folder import labelled_folder
from edge_tl.device.instructions import able, lacks_instructions
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import identity, int8_isa
from edge_tl.device.pixels_gate import diverged, pixels_gate
from edge_tl.device.raw_pixels import golden_raw_pixels, logits_of
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.timing import SkippedRecord
from edge_tl.device.records.verification import VerifyResult as VerifyResult
from edge_tl.device.runtimes import sandbox
from edge_tl.device.runtimes.devices import runnable_artifacts
from edge_tl.device.runtimes.open import Logits, Runtime, notes, open_runtime, ran


def verify(
    bundle: Bundle,
    *,
    data: Path | None = None,
    artifacts: Sequence[str] = (),
    device: str = "CPU",
    allow_fallback: bool = False,
    listener: Listener = SILENT,
) -> VerifyResult:
    """Run the gates here; with `data`, a labelled folder, accuracy on it too.

    Artifacts whose runtime is not installed or has no such device are listed under `skipped`; `MissingExtra` or
    `BadInput` when that is all of them. Raises `BadInput` for a data folder whose classes are not the bundle's and
    `FellBack` when another device ran, unless `allow_fallback`.
    """
    chosen = [bundle.artifact(a) for a in artifacts] or bundle.artifacts
    # Before the gates, which take their time: a folder that cannot be is refused at once.
    files = labelled_folder(bundle.labels, data) if data is not None else None
    suited, _ = able(chosen, device)
    runtimes, skipped = open_installed(
        suited, device, size=bundle.preprocess.input_size, allow_fallback=allow_fallback
    )
    gates = [pixels_gate(bundle), *_instructions_gates(chosen, device)]
    pixels, host = bundle.golden_pixels(), bundle.golden_logits()
    names = [path.name for path in bundle.golden_images()]
    for artifact in chosen:
        _check_limits(artifact, host[artifact.id], host[REFERENCE])
    for done, artifact in enumerate(a for a in chosen if a.id in runtimes):
        listener.progress("gates", done, len(runtimes))
        runtime = runtimes[artifact.id]
        if artifact.takes_pixels:
            gates += _gates_of_raw_pixels(bundle, artifact, runtime, host)
            continue
        logits = np.concatenate([runtime(pixels[i : i + 1]) for i in range(len(pixels))])
        gates.append(_device_gate(artifact, names, logits, host[artifact.id]))
        gates.append(_loss_gate(artifact, names, logits, (host[artifact.id], host[REFERENCE])))
    listener.progress("gates", len(runtimes), len(runtimes))
    folder = None
    if files is not None:
        folder, more = on_folder(bundle, chosen, runtimes, files, listener)
        gates += more
    what_ran = {name: ran(runtime) for name, runtime in runtimes.items()}
    recommended = bundle.record.recommended
    return VerifyResult(
        passed=all(gate.passed for gate in gates),
        gates=tuple(gates),
        verified=len(what_ran),
        of=len(bundle.artifacts),
        recommended_verified=None if recommended is None else recommended in what_ran,
        data=folder,
        ran=what_ran,
        skipped=tuple(skipped),
        warnings=(
            *_failed(bundle, chosen),
            *_warnings(bundle),
            *notes(what_ran),
            *(folder.remarks if folder else ()),
        ),
        machine=identity(),
    )


def _gates_of_raw_pixels(
    bundle: Bundle, artifact: Artifact, runtime: Runtime, host: Mapping[str, Logits]
) -> list[GateResult]:
    """The device and the loss gate, on the images that decode here as they did on the host."""
    places: list[int] = []
    found: list[Logits] = []
    for place in range(len(bundle.golden_images())):
        if (image := golden_raw_pixels(bundle, place)) is not None:
            places.append(place)
            found.append(logits_of(runtime, [image]))
    if not places:
        reason = "no golden image decodes here as at export, so nothing was compared: see the pixels gate"
        limit = artifact.limits.device_max_abs_diff
        return [GateResult("device", artifact.id, None, limit, "logit", False, reason)]
    logits, names = np.concatenate(found), [bundle.golden_images()[place].name for place in places]
    own, reference = host[artifact.id][places], host[REFERENCE][places]
    gates = [
        _device_gate(artifact, names, logits, own),
        _loss_gate(artifact, names, logits, (own, reference)),
    ]
    left_out = len(bundle.golden_images()) - len(places)
    more = f"; {left_out} images, which decode otherwise here, were left out" if left_out else ""
    return [replace(gate, reason=gate.reason + more) for gate in gates]


def open_installed(
    artifacts: Sequence[Artifact],
    device: str = "CPU",
    *,
    size: tuple[int, int] | None = None,
    allow_fallback: bool = False,
) -> tuple[dict[str, Runtime], list[SkippedRecord]]:
    """Load every artifact whose runtime is installed and has the device; `size` is the images' (height,
    width). Raises `MissingExtra` when none is installed and `BadInput` when none has it."""
    runtimes: dict[str, Runtime] = {}
    missing = None
    chosen, left_out = runnable_artifacts(artifacts, device)
    skipped = [SkippedRecord(artifact=each["artifact"], reason=each["reason"]) for each in left_out]
    for artifact in chosen:
        try:
            sandbox.smoke_test(artifact.path, device, size)
            runtimes[artifact.id] = open_runtime(artifact.path, device=device, allow_fallback=allow_fallback)
        except MissingExtra as error:
            skipped.append(SkippedRecord(artifact=artifact.id, reason=str(error)))
            missing = error
    if missing and not runtimes:
        raise missing
    return runtimes, skipped


def _check_limits(artifact: Artifact, own: Logits, reference: Logits) -> None:
    """Raises `BundleError` for limits that the host's own logits `(n, classes)` do not imply: `export` sets none so
    loose, and any machine would keep them."""
    if metrics.not_numbers(own) or metrics.not_numbers(reference):
        return  # which the gates say
    highest = max(1.0, float(np.abs(own).max()))
    most, least = 1e-3 * highest, 1.0
    if (
        artifact.precision != "fp32"
    ):  # what quantization moved depends on temperatures: at least no more than all
        most = max(2e-2 * highest, float(np.ptp(own)))
        least = (int(np.sum(metrics.top1(own) == metrics.top1(reference))) - 2) / len(own)
    if (
        artifact.takes_pixels and artifact.precision == "fp32"
    ):  # a level of a pixel changes one answer at most
        least = (len(own) - 1) / len(own)
    given = artifact.limits
    if given.device_max_abs_diff > 1.001 * most or given.golden_agreement < least - 1e-6:
        raise BundleError(
            f"{artifact.id}: its limits (device_max_abs_diff {given.device_max_abs_diff:g}, golden_agreement "
            f"{given.golden_agreement:g}) are looser than its golden logits imply: the record contradicts itself. "
            "Do not use this bundle."
        )


def _instructions_gates(artifacts: Sequence[Artifact], device: str) -> list[GateResult]:
    """A failed device gate for each artifact whose instructions this CPU has not: it is not run, because golden images
    may not show what saturates on others."""
    return [
        GateResult("device", each.id, None, each.limits.device_max_abs_diff, "logit", False, why)
        for each in artifacts
        if (why := lacks_instructions(each, device))
    ]


def _device_gate(artifact: Artifact, names: Sequence[str], logits: Logits, host: Logits) -> GateResult:
    limit = artifact.limits.device_max_abs_diff
    apart = first_of_logits(names, logits, host)
    if logits.shape != host.shape:
        reason = f"logits of shape {logits.shape}, {host.shape} at export: it is another model"
        return diverged(GateResult("device", artifact.id, None, limit, "logit", False, reason), apart)
    if unread := _unreadable(artifact, logits, host, "this machine's", "the host's"):
        return diverged(GateResult("device", artifact.id, None, limit, "logit", False, unread), apart)
    measured = metrics.max_abs_diff(logits, host)
    flips = int(np.sum(metrics.top1(logits) != metrics.top1(host)))
    passed = measured <= limit
    reason = (
        f"the host's logits, {flips} of {len(host)} answers changed"
        if passed
        else f"this machine computes other logits from the same file and pixels ({flips} of {len(host)} answers "
        "changed): its CPU instructions, runtime version or accelerator differ"
    )
    result = GateResult("device", artifact.id, measured, limit, "logit", passed, reason)
    return result if passed else diverged(result, apart)


def _loss_gate(
    artifact: Artifact, names: Sequence[str], logits: Logits, stored: tuple[Logits, Logits]
) -> GateResult:
    """`stored` are the host's logits and PyTorch's."""
    host, reference = stored
    limit = artifact.limits.golden_agreement
    apart = first_of_logits(names, logits, host)
    if logits.shape != reference.shape:
        reason = f"logits of shape {logits.shape}, PyTorch's are {reference.shape}: it is another model"
        return diverged(GateResult("loss", artifact.id, None, limit, "agreement", False, reason), apart)
    if unread := _unreadable(artifact, logits, reference, "this machine's", "PyTorch's"):
        return diverged(GateResult("loss", artifact.id, None, limit, "agreement", False, unread), apart)
    measured = metrics.agreement(metrics.top1(logits), metrics.top1(reference))
    passed = measured >= limit
    reason = (
        "PyTorch's answers on the golden images"
        if passed
        else "other answers than PyTorch's: export or quantization changed the model, or the device gate's fault"
    )
    result = GateResult("loss", artifact.id, measured, limit, "agreement", passed, reason)
    if passed:
        return result
    if apart.difference is not None and apart.difference <= artifact.limits.device_max_abs_diff:
        apart = first_of_labels(names, logits, reference)
    return diverged(result, apart)


def _unreadable(artifact: Artifact, logits: Logits, stored: Logits, ours: str, theirs: str) -> str | None:
    """Why no gate can pass that compares these logits: NaN is the largest of all, and the same answer everywhere."""
    for whose, values in ((ours, logits), (theirs, stored)):
        if bad := metrics.not_numbers(values):
            return (
                f"{whose} logits of {artifact.id} are NaN or infinite on {bad} of {len(values)} golden images"
            )
    return None


def _failed(bundle: Bundle, chosen: Sequence[Artifact]) -> list[str]:
    """Export may have judged more images than are here: what failed there must not look proven because it passes."""
    return [said for artifact in chosen if (said := bundle.record.failed_at_export(artifact.record))]


def _warnings(bundle: Bundle) -> list[str]:
    """INT8 that was proven on other instruction sets than this machine computes it with: accuracy does not transfer."""
    here, found = int8_isa(), []
    for artifact in bundle.artifacts:
        limit, rows = artifact.limits.max_drop_pp, artifact.record.proven_on or ()
        proven = list(dict.fromkeys(row.isa for row in rows if row.isa and row.within(limit)))
        if proven and here and here not in proven:
            found.append(
                f"{artifact.id} was proven on {' and '.join(proven)}, this CPU computes INT8 with {here}: its accuracy "
                "there does not transfer. Run verify with --data here."
            )
    return found
