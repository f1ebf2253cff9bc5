"""Artifacts that take raw pixels: made of the finished ones on tensors, compared with them on every evaluation image.

Nothing is quantized or calibrated here: weights, temperatures, and what INT8 was proven on are those of the artifact
that each is made of. Times nothing; `with_costs` reads what was timed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bench import ratio
from edge_tl.device.bench.workers import Workload
from edge_tl.device.bench.workloads import OUTSIDE, preprocessed_outside
from edge_tl.device.bundle import REFERENCE, Bundle, file_record
from edge_tl.device.images.decode import examine
from edge_tl.device.machine import cores_allowed
from edge_tl.device.raw_pixels import log_probabilities, raw_pixels
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.image_input import ImageInputRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.image_input import answers_to_images, put_preprocessing_in_front
from edge_tl.host.export import gates, goldens
from edge_tl.host.export.evaluation import nothing_runs, remove_files
from edge_tl.host.export.job import ExportJob
from edge_tl.host.images.dataset import Sample

SUFFIX = "-image"
_AT_ONCE = 4  # decoded images; a photograph has 36 MB
_SILENT_S = 1800.0
_BESIDE = Path("scratch", "outside")
"""Below the staging folder: the files on tensors that the bundle does not hold, for what is timed against them."""
Pixels = NDArray[np.uint8]


@dataclass
class _Compared:
    """What was found of one artifact, image by image."""

    probabilities: list[Logits] = field(default_factory=list)
    levels_max: float = 0.0
    levels_sum: float = 0.0


def with_image_artifacts(job: ExportJob, record: BundleRecord, samples: Sequence[Sample]) -> BundleRecord:
    """The record with an artifact of raw pixels for each of its own, or, where `export.input` is "image", in their
    place; `samples` are the evaluation images. What cannot be made is an entry of `job.missing`. Raises `EdgeTLError`
    where nothing is left."""
    if job.recipe.export.input == "tensor":
        return record
    made = {each.id: each for each in record.artifacts if _make(job, each)}
    size, compared = _compare(job, made, samples)
    golden = _golden_answers(job, record, made)
    added = [
        _record(job, twin, samples, (size, compared[name]), (record, golden[name + SUFFIX]))
        for name, twin in made.items()
        if name + SUFFIX in golden and name in compared
    ]
    logits = {each.id: golden[each.id] for each in added}
    record = replace(
        record,
        artifacts=(*record.artifacts, *added),
        golden=goldens.with_logits(job.staging, record.golden, logits),
    )
    return record if job.recipe.export.input == "both" else _without_tensors(job, record)


def outside_workloads(bundle: Bundle) -> list[Workload]:
    """Beside every artifact of raw pixels the same weights behind Pillow."""
    found = []
    for artifact in bundle.artifacts:
        if artifact.takes_pixels:
            name = _tensor_name(artifact.record.main)
            beside = bundle.root / _BESIDE / name
            found.append(
                preprocessed_outside(bundle, artifact, beside if beside.exists() else bundle.root / name)
            )
    return found


def with_costs(
    record: BundleRecord, timing: BenchResult, busy: str | None
) -> tuple[BundleRecord, BenchResult]:
    """The record with what preprocessing inside costs, and the timing without the rows that say so; `busy` says why it
    is not judged."""
    rows = {row.id: row for row in timing.artifacts}
    artifacts = []
    for artifact in record.artifacts:
        own = artifact.image_input
        if own is not None and busy is None:
            inside, outside = rows[artifact.id], rows[artifact.id + OUTSIDE]
            before, after = (
                [np.array(block, np.int64) for block in row.samples_ns] for row in (outside, inside)
            )
            cost, interval = ratio.difference_ms(before, after, inside.block_round)
            own = replace(
                own,
                inside_ms=inside.latency_ms.p50,
                outside_ms=outside.latency_ms.p50,
                cost_ms=cost,
                cost_ci_ms=interval,
            )
        elif own is not None:
            own = replace(own, not_judged=busy)
        artifacts.append(replace(artifact, image_input=own))
    kept = tuple(row for row in timing.artifacts if not row.id.endswith(OUTSIDE))
    return replace(record, artifacts=tuple(artifacts)), replace(timing, artifacts=kept)


def _make(job: ExportJob, twin: ArtifactRecord) -> bool:
    """Write the files; whether that could be done."""
    with job.entering(twin.id + SUFFIX):
        job.isolated.call(
            put_preprocessing_in_front,
            job.staging / twin.main,
            job.staging / _image_name(twin.main),
            job.contract,
            job.dataset.labels,
        )
        return True
    return False


def _image_name(name: str) -> str:
    """Of the file of raw pixels, by that of the file it is made of: model.fp32-image.onnx."""
    path = PurePosixPath(name)
    return f"{path.stem}{SUFFIX}{path.suffix}"


def _tensor_name(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.stem.removesuffix(SUFFIX)}{path.suffix}"


def _decoded(job: ExportJob, samples: Sequence[Sample]) -> Iterator[list[tuple[Pixels, Pixels]]]:
    """Every image decoded, and its contract pixels, some at a time."""
    sources = job.dataset.sources(samples)

    def read(place: int) -> tuple[Pixels, Pixels]:
        decoded = examine(sources[place], max_pixels=job.contract.max_pixels)
        return raw_pixels(job.contract, decoded)[0], job.contract.framed(decoded).pixels

    with ThreadPoolExecutor(cores_allowed(), thread_name_prefix="decode") as pool:
        for start in range(0, len(sources), _AT_ONCE):
            yield list(pool.map(read, range(start, min(start + _AT_ONCE, len(sources)))))


def _compare(
    job: ExportJob, made: Mapping[str, ArtifactRecord], samples: Sequence[Sample]
) -> tuple[tuple[int, int], dict[str, _Compared]]:
    """The median height and width, and what each artifact of raw pixels answers, by the id of that on tensors."""
    sizes: list[tuple[int, ...]] = []
    found = {name: _Compared() for name in made}
    for batch in _decoded(job, samples):
        images, expected = [whole for whole, _ in batch], np.stack([pixels for _, pixels in batch])
        sizes += [image.shape[:2] for image in images]
        for name in list(found):
            path = job.staging / _image_name(made[name].main)
            with job.entering(name + SUFFIX):
                answers = job.isolated.call(answers_to_images, path, job.contract, images, seconds=_SILENT_S)
                apart = np.abs(answers.pixels.astype(np.int16) - expected)
                found[name].probabilities.append(answers.probabilities)
                found[name].levels_max = max(found[name].levels_max, float(apart.max()))
                found[name].levels_sum += float(apart.mean()) * len(images)
            if name + SUFFIX in job.missing:
                _drop(job, made[name])
                del found[name]
        job.listener.progress("raw pixels", len(sizes), len(samples))
    middle = np.median(np.array(sizes), axis=0)
    return (int(middle[0]), int(middle[1])), found


def _golden_answers(
    job: ExportJob, record: BundleRecord, made: Mapping[str, ArtifactRecord]
) -> dict[str, Logits]:
    """By the ids of the artifacts of raw pixels, their logits on the golden images as they are decoded."""
    images = [raw_pixels(job.contract, job.staging / name)[0] for name in record.golden.images]
    found: dict[str, Logits] = {}
    for name, twin in made.items():
        if name + SUFFIX in job.missing:
            continue
        path = job.staging / _image_name(twin.main)
        with job.entering(name + SUFFIX):
            rows = [
                job.isolated.call(
                    answers_to_images, path, job.contract, [image], seconds=_SILENT_S
                ).probabilities
                for image in images
            ]
            found[name + SUFFIX] = log_probabilities(np.concatenate(rows))
        if name + SUFFIX in job.missing:
            _drop(job, twin)
    return found


def _drop(job: ExportJob, twin: ArtifactRecord) -> None:
    remove_files(job.staging, [_image_name(file.path) for file in twin.files])


def _record(
    job: ExportJob,
    twin: ArtifactRecord,
    samples: Sequence[Sample],
    found: tuple[tuple[int, int], _Compared],
    goldens_of: tuple[BundleRecord, Logits],
) -> ArtifactRecord:
    """Measured on the evaluation images as `twin`, which is on tensors; what is of the weights alone is that one's."""
    size, compared = found
    bundle, golden = goldens_of
    probabilities = np.concatenate(compared.probabilities)
    reference, outside = job.kept_logits(REFERENCE, samples), job.kept_logits(twin.id, samples)
    assert reference is not None
    assert outside is not None
    divided = {REFERENCE: bundle.reference.confidence, twin.id: twin.confidence}
    temperatures = {name: each.temperature if each else 1.0 for name, each in divided.items()}
    labels = np.array([sample.label for sample in samples], np.int64)
    expected, answers = metrics.top1(reference), metrics.top1(probabilities)
    drop = metrics.paired_drop(labels, expected, answers)
    with np.load(job.staging / "golden" / "logits.npz", allow_pickle=False) as stored:
        on_goldens = stored[REFERENCE]
    wanted = log_probabilities(metrics.softmax(gates.in_units_of(twin.id, on_goldens, temperatures)))
    limits = gates.limits(twin.precision, golden, wanted, job.recipe.export.max_drop)
    if twin.precision == "fp32":  # its pixels may be a level from those that PyTorch was given
        limits = replace(
            limits, golden_agreement=metrics.agreement(metrics.top1(wanted), metrics.top1(golden))
        )
    whole = log_probabilities(metrics.softmax(gates.in_units_of(twin.id, reference, temperatures)))
    return replace(
        twin,
        id=twin.id + SUFFIX,
        input="image",
        files=tuple(file_record(job.staging, _image_name(file.path)) for file in twin.files),
        limits=limits,
        accuracy=metrics.accuracy(labels, answers),
        **drop.fields(),
        agreement=metrics.agreement(expected, answers),
        max_abs_diff=metrics.max_abs_diff(whole, log_probabilities(probabilities)),
        confusion=metrics.compact(metrics.confusion(labels, answers, len(job.dataset.labels))),
        changed=gates.changed(samples, job.dataset.labels, expected, answers),
        heatmap=None,
        image_input=ImageInputRecord(
            size=size,
            n=len(labels),
            flips=int(np.sum(answers != metrics.top1(outside))),
            levels_max=compared.levels_max,
            levels_mean=round(compared.levels_sum / len(labels), 6),
            probability_diff_max=float(np.abs(metrics.softmax(outside) - probabilities).max()),
        ),
    )


def _without_tensors(job: ExportJob, record: BundleRecord) -> BundleRecord:
    """The record without the artifacts on tensors, whose files are kept aside until everything is timed."""
    gone = [each for each in record.artifacts if not each.takes_pixels]
    left = tuple(each for each in record.artifacts if each.takes_pixels)
    if not left:
        raise nothing_runs(job)
    beside = job.staging / _BESIDE
    beside.mkdir(parents=True, exist_ok=True)
    for file in (file for each in gone for file in each.files):
        os.replace(job.staging / file.path, beside / file.path)
    names = {each.id for each in gone}
    measured = record.fingerprints
    if measured is not None:
        measured = replace(measured, artifact=measured.artifact + SUFFIX)
    return replace(
        record,
        artifacts=left,
        golden=goldens.without_logits(job.staging, record.golden, names),
        fingerprints=measured,
    )
