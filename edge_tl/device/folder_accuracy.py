"""Accuracy of every artifact on a labelled folder, on the images that `finetune` would use of it.

Runs no gate on the goldens: those need no labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.files import sha256_file
from edge_tl.device.images.decode_warnings import mixed_ranges, warning_lines
from edge_tl.device.images.labelled_folder import LabelledFolder
from edge_tl.device.images.loader import load_batches
from edge_tl.device.images.reading import with_retries
from edge_tl.device.listener import Listener
from edge_tl.device.names import encodable
from edge_tl.device.raw_pixels import logits_of, raw_pixels
from edge_tl.device.records.accuracy import FolderAccuracy
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.image_files import SkippedFile
from edge_tl.device.records.verification import FolderResult
from edge_tl.device.runtimes.open import Logits, Runtime

TWO_CLASSES = "the same image in two classes"
AGAIN = "the same image twice in one class: one copy kept"


def on_folder(
    bundle: Bundle,
    chosen: Sequence[Artifact],
    runtimes: dict[str, Runtime],
    files: LabelledFolder,
    listener: Listener,
) -> tuple[FolderResult, list[GateResult]]:
    """The accuracies, and the gates on the drop from the FP32 artifact, which stands in for PyTorch. Raises `BadInput`
    where no image can be used."""
    left_out, first = _left_out(files.paths, files.labels)
    used = [i for i, path in enumerate(files.paths) if path not in left_out | first.keys()]
    paths, labels = [files.paths[i] for i in used], files.labels[used]
    logits: dict[str, list[Logits]] = {name: [] for name in runtimes}
    kept: list[int] = []
    bad: dict[int, str] = {}
    remarks: dict[int, str] = {}
    for batch in _counted(load_batches(bundle.preprocess, paths), len(paths), listener):
        kept += batch.indices
        bad |= batch.bad
        remarks |= batch.remarks
        for name, runtime in runtimes.items():
            if bundle.artifact(name).takes_pixels:  # decoded anew: whole images of a batch would be gigabytes
                logits[name] += [
                    logits_of(runtime, [raw_pixels(bundle.preprocess, paths[i])]) for i in batch.indices
                ]
            else:
                logits[name].append(runtime(batch.inputs))
    if not kept:
        reason = next(iter(bad.values()), TWO_CLASSES)
        raise BadInput(f"no usable image below {files.root}: {reason}. Replace the files.")
    # PyTorch is not here; the FP32 artifact stands in for it, whose agreement with PyTorch export has proven.
    whole_precision = sorted((a for a in chosen if a.precision == "fp32"), key=lambda a: a.takes_pixels)
    stand_in = next((a.id for a in whole_precision if a.id in runtimes), None)
    whole = {name: np.concatenate(parts) for name, parts in logits.items()}
    rows, gates = _measured(bundle, whole, labels[kept], stand_in)
    faults = {paths[i]: reason for i, reason in bad.items()}
    copies = {path: faults.get(kept_one, AGAIN) for path, kept_one in first.items()}
    different = mixed_ranges(remarks.get(i) for i in kept)
    said = warning_lines((encodable(str(paths[i])), remark) for i, remark in remarks.items())
    skipped = list(files.skipped)
    skipped += [
        SkippedFile(encodable(str(path)), reason) for path, reason in (left_out | faults | copies).items()
    ]
    found = FolderResult(
        folder=files.root,
        reference=stand_in,
        accuracy=tuple(rows),
        skipped=tuple(skipped),
        not_images=tuple(files.not_images),
        remarks=(*said, different) if different else tuple(said),
    )
    return found, gates


def _measured(
    bundle: Bundle, logits: Mapping[str, Logits], labels: NDArray[np.int64], stand_in: str | None
) -> tuple[list[FolderAccuracy], list[GateResult]]:
    answers = {name: _answers(own) for name, own in logits.items()}
    rows, gates = [], []
    for name, got in answers.items():
        row = FolderAccuracy(name, metrics.accuracy(labels, got), len(labels))
        if bad := metrics.not_numbers(logits[name]):
            reason = f"logits are NaN or infinite on {bad} of {len(labels)} images, which count as wrong"
            gates.append(GateResult("loss", name, float(bad), 0.0, "images", False, reason))
        if stand_in and name != stand_in:
            drop = metrics.paired_drop(labels, answers[stand_in], got)
            row = replace(row, **drop.fields(), agreement=metrics.agreement(answers[stand_in], got))
            gates.append(_drop_gate(bundle.artifact(name), drop, f"against {stand_in} on {row.n} images"))
        rows.append(row)
    return rows, gates


def _drop_gate(artifact: Artifact, drop: metrics.PairedDrop, against: str) -> GateResult:
    limit = artifact.limits.max_drop_pp
    passed = drop.drop_pp <= limit
    low, high = drop.drop_ci_pp
    reason = f"{drop.drop_pp:+.2f} pp [{low:.2f}, {high:.2f}] {against}"
    if not passed and low <= limit:
        reason += "; so few cannot tell it from one within the limit: give more images"
    undecided = not passed and low <= 0 <= limit  # it may be no loss at all, and may be one too many
    return GateResult(
        "loss", artifact.id, drop.drop_pp, limit, "pp", passed or undecided, reason, not undecided
    )


def _answers(logits: Logits) -> NDArray[np.int64]:
    """The class with the largest logit; -1, which is no class, where a logit is no number."""
    found: NDArray[np.int64] = np.where(np.isfinite(logits).all(axis=1), metrics.top1(logits), -1)
    return found


def _left_out(paths: Sequence[Path], labels: NDArray[np.int64]) -> tuple[dict[Path, str], dict[Path, Path]]:
    """Which files are not used, and why: those that may not be read, and those that lie in two classes, byte for
    byte, whose label nobody knows. And copies within a class with the one that is kept, as `finetune` keeps it."""
    found: dict[Path, str] = {}
    groups: dict[str, list[tuple[Path, int]]] = {}
    for path, label in zip(paths, labels.tolist(), strict=True):
        try:
            path.open("rb").close()
        except PermissionError as error:
            found[path] = f"cannot be read: {error.strerror}"
            continue
        content = with_retries(str(path), partial(sha256_file, path))
        groups.setdefault(content, []).append((path, label))
    copies: dict[Path, Path] = {}
    for group in groups.values():
        if len({label for _, label in group}) > 1:
            found |= dict.fromkeys((path for path, _ in group), TWO_CLASSES)
        else:
            copies |= dict.fromkeys((path for path, _ in group[1:]), group[0][0])
    return found, copies


def _counted(stream: Iterator[Any], total: int, listener: Listener) -> Iterator[Any]:
    done = 0
    for batch in stream:
        yield batch
        done += len(batch.indices) + len(batch.bad)
        listener.progress("images", done, total)
