"""The gates: does this machine give the answers the model was exported with, and if not, which room is at fault?

    pixels   contract.apply(golden image)   against the stored pixels      decoder, resize
    device   this machine's logits          against the host's, same file  CPU, ISA, runtime version
    loss     this machine's logits          against PyTorch's              export, quantization

It must not time anything. The limits travel with the bundle, except that of the pixels gate, which no model moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.target import compare
from edge_tl.target.bundle import REFERENCE, Artifact, Bundle, contract_seal
from edge_tl.target.errors import BadImage, BadInput, MissingExtra
from edge_tl.target.files import sha256_file
from edge_tl.target.labelled import Labelled, labelled_files
from edge_tl.target.loader import batches
from edge_tl.target.machine import identity, int8_isa
from edge_tl.target.names import shown
from edge_tl.target.progress import Progress, no_progress
from edge_tl.target.reading import patiently
from edge_tl.target.remarks import sentences
from edge_tl.target.runtime import Logits, Runtime, notes, open_runtime, ran
from edge_tl.target.runtimes.offered import able

TWO_CLASSES = "the same image in two classes"
PIXEL_LIMIT_LEVELS = 2.0  # JPEG decoders may round a level apart; a wrong resize is off by tens


@dataclass(frozen=True)
class Gate:
    """One judgement. `measured` and `limit` are in `unit`; `artifact` is None for the pixels gate, `measured` where
    there was nothing to measure. What could not be decided here is not `judged`, and does not fail."""

    gate: str
    artifact: str | None
    measured: float | None
    limit: float
    unit: str
    passed: bool
    reason: str
    judged: bool = True


def verify(
    bundle: Bundle,
    *,
    data: Path | None = None,
    artifacts: Sequence[str] = (),
    device: str = "CPU",
    allow_fallback: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Run the gates here; with `data`, a labelled folder, accuracy on it too.

    Artifacts whose runtime is not installed or has no such device are listed under `skipped`; `MissingExtra` or
    `BadInput` when that is all of them. Raises `BadInput` for a data folder whose classes are not the bundle's and
    `FellBack` when another device ran, unless `allow_fallback`.
    """
    chosen = [bundle.artifact(a) for a in artifacts] or bundle.artifacts
    # Before the gates, which take their time: a folder that cannot be is refused at once.
    files = labelled_files(bundle.labels, data) if data is not None else None
    runtimes, skipped = open_installed(chosen, device, allow_fallback=allow_fallback)
    gates = [_pixels_gate(bundle)]
    pixels, host = bundle.golden_pixels(), bundle.golden_logits()
    for done, artifact in enumerate(a for a in chosen if a.id in runtimes):
        progress("gates", done, len(runtimes))
        logits = np.concatenate([runtimes[artifact.id](pixels[i : i + 1]) for i in range(len(pixels))])
        gates.append(_device_gate(artifact, logits, host[artifact.id]))
        gates.append(_loss_gate(artifact, logits, host[REFERENCE]))
    progress("gates", len(runtimes), len(runtimes))
    result: dict[str, Any] = {}
    if files is not None:
        result["data"], more = _on_folder(bundle, chosen, runtimes, files, progress)
        gates += more
    what_ran = {name: ran(runtime) for name, runtime in runtimes.items()}
    return {
        "passed": all(gate.passed for gate in gates),
        "gates": [asdict(gate) for gate in gates],
        **_counted_artifacts(bundle, what_ran),
        **result,
        "ran": what_ran,
        "skipped": skipped,
        "warnings": _warnings(bundle) + notes(what_ran) + result.get("data", {}).get("remarks", []),
        "machine": identity(),
    }


def _counted_artifacts(bundle: Bundle, verified: Collection[str]) -> dict[str, Any]:
    """`{verified, of, recommended_verified}`; the last is None where nothing is recommended."""
    recommended = bundle.record.get("recommended")
    return {
        "verified": len(verified),
        "of": len(bundle.artifacts),
        "recommended_verified": None if recommended is None else recommended in verified,
    }


def open_installed(
    artifacts: Sequence[Artifact], device: str = "CPU", *, allow_fallback: bool = False
) -> tuple[dict[str, Runtime], list[dict[str, str]]]:
    """Load every artifact whose runtime is installed and has the device. Raises `MissingExtra` when none is
    installed and `BadInput` when none has it."""
    runtimes: dict[str, Runtime] = {}
    missing = None
    chosen, skipped = able(artifacts, device)
    for artifact in chosen:
        try:
            runtimes[artifact.id] = open_runtime(artifact.path, device=device, allow_fallback=allow_fallback)
        except MissingExtra as error:
            skipped.append({"artifact": artifact.id, "reason": str(error)})
            missing = error
    if missing and not runtimes:
        raise missing
    return runtimes, skipped


def _pixels_gate(bundle: Bundle) -> Gate:
    if bundle.record.get("contract_seal") != contract_seal(bundle.record):
        reason = "the preprocessing in bundle.json was altered after export: copy the bundle again, or export again"
        return Gate("pixels", None, 255.0, PIXEL_LIMIT_LEVELS, "levels of 255", False, reason)
    stored = bundle.preprocess.levels(bundle.golden_pixels())
    worst, where = 0.0, ""
    for path, want in zip(bundle.golden_images(), stored, strict=True):
        try:
            got = bundle.preprocess.levels(bundle.preprocess.apply(path))
        except BadImage as error:
            return Gate("pixels", None, 255.0, PIXEL_LIMIT_LEVELS, "levels of 255", False, str(error))
        if got.shape != want.shape:
            reason = f"{path.name} becomes {got.shape[1:]} pixels here, {want.shape[1:]} at export: the size differs"
            return Gate("pixels", None, 255.0, PIXEL_LIMIT_LEVELS, "levels of 255", False, reason)
        difference = compare.max_abs_diff(got, want)
        if difference > worst:
            worst, where = difference, path.name
    passed = worst <= PIXEL_LIMIT_LEVELS
    reason = (
        f"the same pixels as at export, on {len(stored)} images"
        if passed
        else f"{where} decodes or resizes differently here: an image library or the contract is not the host's"
    )
    return Gate("pixels", None, round(worst, 3), PIXEL_LIMIT_LEVELS, "levels of 255", passed, reason)


def _device_gate(artifact: Artifact, logits: Logits, host: Logits) -> Gate:
    limit = artifact.limits["device_max_abs_diff"]
    if logits.shape != host.shape:
        reason = f"logits of shape {logits.shape}, {host.shape} at export: it is another model"
        return Gate("device", artifact.id, 1e9, limit, "logit", False, reason)
    measured = compare.max_abs_diff(logits, host)
    flips = int(np.sum(compare.top1(logits) != compare.top1(host)))
    passed = measured <= limit
    reason = (
        f"the host's logits, {flips} of {len(host)} answers changed"
        if passed
        else f"this machine computes other logits from the same file and pixels ({flips} of {len(host)} answers "
        "changed): its CPU instructions, runtime version or accelerator differ"
    )
    return Gate("device", artifact.id, min(measured, 1e9), limit, "logit", passed, reason)


def _loss_gate(artifact: Artifact, logits: Logits, reference: Logits) -> Gate:
    limit = artifact.limits["golden_agreement"]
    if logits.shape != reference.shape:
        reason = f"logits of shape {logits.shape}, PyTorch's are {reference.shape}: it is another model"
        return Gate("loss", artifact.id, 0.0, limit, "agreement", False, reason)
    measured = compare.agreement(compare.top1(logits), compare.top1(reference))
    passed = measured >= limit
    reason = (
        "PyTorch's answers on the golden images"
        if passed
        else "other answers than PyTorch's: export or quantization changed the model, or the device gate's fault"
    )
    return Gate("loss", artifact.id, measured, limit, "agreement", passed, reason)


def _on_folder(
    bundle: Bundle,
    chosen: Sequence[Artifact],
    runtimes: dict[str, Runtime],
    files: Labelled,
    progress: Progress,
) -> tuple[dict[str, Any], list[Gate]]:
    root, closed = files.root, _closed(files.paths)
    open_ = np.array([path not in closed for path in files.paths], np.bool_)
    paths, labels = [path for path in files.paths if path not in closed], files.labels[open_]
    two = _in_two_classes(paths, labels)
    unclear = [paths[i] for i in np.flatnonzero(two)]
    paths, labels = [paths[i] for i in np.flatnonzero(~two)], labels[~two]
    logits: dict[str, list[Logits]] = {name: [] for name in runtimes}
    kept: list[int] = []
    bad: dict[int, str] = {}
    remarks: dict[int, str] = {}
    for batch in _counted(batches(bundle.preprocess, paths), len(paths), progress):
        kept += batch.indices
        bad |= batch.bad
        remarks |= batch.remarks
        for name, runtime in runtimes.items():
            logits[name].append(runtime(batch.inputs))
    if not kept:
        reason = next(iter(bad.values()), TWO_CLASSES)
        raise BadInput(f"no usable image below {root}: {reason}. Replace the files.")
    labels = labels[kept]
    answers = {name: compare.top1(np.concatenate(parts)) for name, parts in logits.items()}
    # PyTorch is not here; the FP32 artifact stands in for it, whose agreement with PyTorch export has proven.
    stand_in = next((a.id for a in chosen if a.precision == "fp32" and a.id in runtimes), None)
    rows, gates = [], []
    for name, got in answers.items():
        row: dict[str, Any] = {"artifact": name, "accuracy": compare.accuracy(labels, got), "n": len(labels)}
        if stand_in and name != stand_in:
            row |= compare.paired_drop(labels, answers[stand_in], got)
            row["agreement"] = compare.agreement(answers[stand_in], got)
            limit = bundle.artifact(name).limits["max_drop_pp"]
            passed = row["drop_pp"] <= limit
            low, high = row["drop_ci_pp"]
            reason = (
                f"{row['drop_pp']:+.2f} pp [{low:.2f}, {high:.2f}] against {stand_in} on {len(labels)} images"
            )
            if not passed and low <= limit:
                reason += "; so few cannot tell it from one within the limit: give more images"
            open_still = not passed and low <= 0 <= limit  # it may be no loss at all, and may be one too many
            gates.append(
                Gate("loss", name, row["drop_pp"], limit, "pp", passed or open_still, reason, not open_still)
            )
        rows.append(row)
    skipped = [
        *files.left_out,
        *({"path": shown(str(path)), "reason": reason} for path, reason in closed.items()),
        *({"path": shown(str(path)), "reason": TWO_CLASSES} for path in unclear),
        *({"path": shown(str(paths[i])), "reason": reason} for i, reason in bad.items()),
    ]
    return {
        "folder": root,
        "reference": stand_in,
        "accuracy": rows,
        "skipped": skipped,
        "not_images": files.not_images,
        "remarks": sentences((shown(str(paths[i])), remark) for i, remark in remarks.items()),
    }, gates


def _closed(paths: Sequence[Path]) -> dict[Path, str]:
    """Which files may not be read, and why."""
    closed = {}
    for path in paths:
        try:
            path.open("rb").close()
        except PermissionError as error:
            closed[path] = f"cannot be read: {error.strerror}"
    return closed


def _in_two_classes(paths: Sequence[Path], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which files lie in two classes, byte for byte: they have no known label, so `finetune` and `export` leave them
    out as well."""
    classes: dict[str, set[int]] = {}
    contents = [patiently(str(path), partial(sha256_file, path)) for path in paths]
    for content, label in zip(contents, labels.tolist(), strict=True):
        classes.setdefault(content, set()).add(label)
    return np.array([len(classes[content]) > 1 for content in contents], np.bool_)


def _counted(stream: Iterator[Any], total: int, progress: Progress) -> Iterator[Any]:
    done = 0
    for batch in stream:
        yield batch
        done += len(batch.indices) + len(batch.bad)
        progress("images", done, total)


def _warnings(bundle: Bundle) -> list[str]:
    """INT8 that was proven on other instruction sets than this machine computes it with: accuracy does not transfer."""
    here, found = int8_isa(), []
    for artifact in bundle.artifacts:
        rows = artifact.record.get("proven_on") or []
        limit = artifact.record["limits"]["max_drop_pp"]
        kept = [row for row in rows if row.get("drop_pp") is None or row["drop_pp"] <= limit]
        proven = list(dict.fromkeys(row["isa"] for row in kept if row["isa"]))
        if proven and here and here not in proven:
            found.append(
                f"{artifact.id} was proven on {' and '.join(proven)}, this CPU computes INT8 with {here}: its accuracy "
                "there does not transfer. Run verify with --data here."
            )
    return found
