"""Artifacts that take raw pixels: made of the finished ones on tensors, compared with them on every evaluation image.

Nothing is quantized or calibrated here: weights and temperatures are those of the artifact that each is made of. Times
nothing; judges nothing, see `image_gates`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bundle import REFERENCE, file_record
from edge_tl.device.images.decode import examine
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.raw_pixels import log_probabilities, raw_pixels
from edge_tl.device.records.accuracy import ConfidenceRecord, ProvenOn
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.image_input import MOST_PIXELS, ImageInputRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.image_input import RawAnswers, answers_to_images, put_preprocessing_in_front
from edge_tl.host.export import calibration, gates, goldens, instruction_sets
from edge_tl.host.export.evaluation import nothing_runs, remove_files
from edge_tl.host.export.image_gates import least_agreement
from edge_tl.host.export.job import ExportJob
from edge_tl.host.images.dataset import Sample

SUFFIX = "-image"
_AT_ONCE = 4  # decoded images; a photograph has 36 MB
_SILENT_S = 1800.0
BESIDE = Path("scratch", "outside")
"""Below the staging folder: the files on tensors that the bundle does not hold, for what is timed against them."""
Pixels = NDArray[np.uint8]


@dataclass
class _Compared:
    """What was found of one artifact, image by image."""

    probabilities: list[Logits] = field(default_factory=list)
    levels_max: float = 0.0
    levels_sum: float = 0.0

    def add(self, answers: RawAnswers, contract: Preprocess, expected: Pixels) -> None:
        """To images whose contract pixels are `expected`, `(n, H, W, 3)`."""
        found = contract.levels(answers.inputs).transpose(0, 2, 3, 1)
        # Nearer than a hundredth of a level is the rounding of float32.
        apart = np.abs(found - expected).round(2)
        self.probabilities.append(answers.probabilities)
        self.levels_max = max(self.levels_max, min(255.0, float(apart.max())))
        self.levels_sum += min(255.0, float(apart.mean())) * len(expected)


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
                answers = job.isolated.call(
                    answers_to_images, path, job.staging / made[name].main, images, seconds=_SILENT_S
                )
                found[name].add(answers, job.contract, expected)
            if name + SUFFIX in job.missing:
                _drop(job, made[name])
                del found[name]
        job.listener.progress("raw pixels", len(sizes), len(samples))
    middle = np.median(np.array(sizes), axis=0)
    middle *= min(1.0, math.sqrt(MOST_PIXELS / middle.prod()))  # a record holds no larger one
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
                    answers_to_images, path, job.staging / twin.main, [image], seconds=_SILENT_S
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
    """Measured on the evaluation images as `twin`, which is on tensors; what is of the file alone is that one's."""
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
        limits = replace(limits, golden_agreement=least_agreement(golden, wanted))
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
        confidence=_confidence(job, twin, labels, log_probabilities(probabilities)),
        proven_on=_proven_on(twin, instruction_sets.on_this_cpu(labels, expected, answers)),
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


def _proven_on(twin: ArtifactRecord, here: ProvenOn) -> tuple[ProvenOn, ...] | None:
    """This CPU's row is the artifact's own; under lesser instruction sets only `twin` was run."""
    if twin.proven_on is None:
        return None
    fault = "not run with raw pixels"
    return (here, *(ProvenOn(row.isa, row.cap, fault=fault) for row in twin.proven_on[1:]))


def _confidence(
    job: ExportJob, twin: ArtifactRecord, labels: calibration.Labels, own: Logits
) -> ConfidenceRecord | None:
    """Of the artifact's own answers `own`; the temperature and the threshold are those of `twin`."""
    if twin.confidence is None:
        return None
    divided_by = twin.confidence.temperature
    raw = own * np.float32(divided_by)
    held_out = job.sets["confidence"] is job.sets["evaluation"] and divided_by != 1.0
    shown = calibration.held_out(labels, raw, job.recipe.seed) if held_out else own
    found = calibration.figures(labels, raw, shown, divided_by)
    return replace(found, threshold=twin.confidence.threshold)


def _without_tensors(job: ExportJob, record: BundleRecord) -> BundleRecord:
    """The record without the artifacts on tensors, whose files are kept aside until everything is timed."""
    gone = [each for each in record.artifacts if not each.takes_pixels]
    left = tuple(each for each in record.artifacts if each.takes_pixels)
    if not left:
        raise nothing_runs(job)
    beside = job.staging / BESIDE
    beside.mkdir(parents=True, exist_ok=True)
    for file in (file for each in gone for file in each.files):
        os.replace(job.staging / file.path, beside / file.path)
    names = {each.id for each in gone}
    return replace(
        record,
        artifacts=left,
        golden=goldens.without_logits(job.staging, record.golden, names),
        fingerprints=None,  # measured with one that is gone
    )
