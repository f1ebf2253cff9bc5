"""PyTorch and every artifact over the same images: accuracy, agreement, confidence, goldens. Times nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_tl.device import metrics
from edge_tl.device.bundle import REFERENCE, SCHEMA_VERSION
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.instructions import dot_products
from edge_tl.device.records.accuracy import ConfidenceRecord, ProvenOn
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord, ProvenanceRecord, ReferenceRecord
from edge_tl.device.records.diagnosis import FingerprintsRecord
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.host.export import calibration, gates, goldens, image_sets, instruction_sets, isa_caps
from edge_tl.host.export.answers import answers_record
from edge_tl.host.export.artifacts import ModelFiles
from edge_tl.host.export.fingerprints import measure_fingerprints
from edge_tl.host.export.heatmaps import with_heatmaps
from edge_tl.host.export.isolated_runtime import IsolatedRuntime
from edge_tl.host.export.job import ExportJob
from edge_tl.host.export.layer_noise import with_layer_errors
from edge_tl.host.export.notable import notable_answers
from edge_tl.host.export.threshold import ThresholdData, threshold_record
from edge_tl.host.images.dataset import Sample
from edge_tl.host.int8.storage_plan import REQUIRED


@dataclass(frozen=True)
class _ImageSet:
    """Images, their classes int64 `(n,)`, and the logits `(n, classes)` of PyTorch and every artifact by id."""

    samples: list[Sample]
    labels: calibration.Labels
    logits: dict[str, Logits]


@dataclass(frozen=True)
class _Evaluation:
    """Everything that was measured, by id. `fitting` are the images that fit temperatures, the evaluation images where
    there are no others; `golden` logits are those of the files as they are shipped."""

    job: ExportJob
    images: _ImageSet
    fitting: _ImageSet
    temperatures: dict[str, float]
    golden: dict[str, Logits]

    def calibrated(self, images: _ImageSet, name: str) -> Logits:
        """The logits of `name` divided by its temperature."""
        found: Logits = images.logits[name] / np.float32(self.temperatures[name])
        return found


def evaluate_artifacts(
    job: ExportJob, models: Sequence[ModelFiles], provenance: ProvenanceRecord, name: str
) -> BundleRecord:
    """The record, without timings, of the bundle `name` that holds `models`.

    Folds each artifact's temperature into its files, and the reference's into `job.reference`; writes the goldens below
    `job.staging`, and keeps the calibrated logits of the evaluation images in the job. An artifact that does not run is
    an entry of `job.missing`, and its files go. Raises `EdgeTLError` where none is left.
    """
    split, samples = image_sets.evaluation_set(job.dataset)
    images, models = _infer(job, models, samples)
    fitting = images
    if job.sets["confidence"] is not job.sets["evaluation"]:
        fitting, models = _infer(job, models, job.sets["confidence"])
    temperatures = _temperatures(job, models, fitting)
    models = _fold_temperatures(job, models, temperatures)
    golden, logits = goldens.write_goldens(
        job.staging,
        _runtimes(job, models),
        job.contract,
        goldens.GoldenImages(job.dataset, samples, job.recipe.export.golden_images),
        _lost(job),
    )
    for kind, reason in golden.left_out.items():
        job.listener.note(f"no golden image of the kind {kind}: {reason}")
    models = remaining(job, models)
    fingerprints = _fingerprints(job, models)
    evaluation = _Evaluation(job, images, fitting, temperatures, logits)
    answers = {each: evaluation.calibrated(images, each) for each in (REFERENCE, *(m.id for m in models))}
    for model in models:
        job.notable[model.id] = notable_answers(images.samples, answers[REFERENCE], answers[model.id])
    record = BundleRecord(
        schema_version=SCHEMA_VERSION,
        name=name,
        labels=tuple(job.dataset.labels),
        preprocess=job.contract,
        reference=_reference_record(evaluation, split),
        artifacts=tuple(_artifact_record(evaluation, model) for model in models),
        golden=golden,
        provenance=provenance,
        fingerprints=fingerprints,
        answers=answers_record(images.samples, answers),
    )
    for each, own in answers.items():
        job.keep_logits(each, samples, own)
    return with_heatmaps(job, with_layer_errors(job, record), samples)


def _fingerprints(job: ExportJob, models: Sequence[ModelFiles]) -> FingerprintsRecord | None:
    """What mistakes cost, with the artifact that is expected to be the fastest; nothing where that cannot be had: it is
    advice, and no export fails for it."""
    chosen = next((each for each in models if each.precision == "int8"), models[0])
    try:
        return measure_fingerprints(job, chosen.id, chosen.files[0])
    except (EdgeTLError, OSError) as error:
        job.failed("fingerprints", error)
        return None


def _lost(job: ExportJob) -> Callable[[str, Exception], None]:
    """What is told of a runtime that fails: PyTorch's failure ends the export."""

    def lost(name: str, error: Exception) -> None:
        if name == REFERENCE:
            raise error
        job.lacks(name, error)

    return lost


def _runtimes(job: ExportJob, models: Sequence[ModelFiles]) -> dict[str, Runtime]:
    """The reference, and the artifacts that load; the others are entries of `job.missing`."""
    found: dict[str, Runtime] = {REFERENCE: job.reference}
    for model in models:
        with job.entering(model.id):
            found[model.id] = IsolatedRuntime(job.staging / model.files[0], job.isolated)
    return found


def _infer(
    job: ExportJob, models: Sequence[ModelFiles], samples: list[Sample]
) -> tuple[_ImageSet, list[ModelFiles]]:
    """Logits on `samples`, and the models that have some."""
    runtimes = _runtimes(job, models)
    kept = {name: rows for name in runtimes if (rows := job.kept_logits(name, samples)) is not None}
    asked = {name: runtime for name, runtime in runtimes.items() if name not in kept}
    inputs = job.inputs.batches(samples)
    logits = kept | image_sets.evaluate(asked, inputs, len(samples), job.listener, _lost(job))
    labels = np.array([sample.label for sample in samples], np.int64)
    return _ImageSet(samples, labels, logits), remaining(job, models)


def _temperatures(job: ExportJob, models: Sequence[ModelFiles], fitting: _ImageSet) -> dict[str, float]:
    """By id. FP32 artifacts share the reference's, so that they stay comparable number by number."""
    if not job.recipe.export.temperature:
        return dict.fromkeys([REFERENCE, *(model.id for model in models)], 1.0)

    def fit(name: str) -> float:
        return calibration.temperature(fitting.labels, fitting.logits[name], job.recipe.seed)

    found = {REFERENCE: fit(REFERENCE)}
    for model in models:
        found[model.id] = found[REFERENCE] if model.precision == "fp32" else fit(model.id)
    return found


def _fold_temperatures(
    job: ExportJob, models: Sequence[ModelFiles], temperatures: dict[str, float]
) -> list[ModelFiles]:
    """Divide the logits of every model, inside its file; returns those where that could be done."""
    job.forget_logits()
    job.reference.temperature = temperatures[REFERENCE]
    for model in models:
        with job.entering(model.id):
            path = job.staging / model.files[0]
            calibration.fold(path, temperatures[model.id], job.contract, job.dataset.labels)
    return remaining(job, models)


def _reference_record(evaluation: _Evaluation, split: str) -> ReferenceRecord:
    labels, expected = evaluation.images.labels, metrics.top1(evaluation.images.logits[REFERENCE])
    classes = len(evaluation.job.dataset.labels)
    return ReferenceRecord(
        framework=f"pytorch {evaluation.job.reference.version}",
        accuracy=metrics.accuracy(labels, expected),
        n=len(labels),
        split=split,
        confidence=_confidence(evaluation, REFERENCE),
        confusion=metrics.compact(metrics.confusion(labels, expected, classes)),
    )


def _artifact_record(evaluation: _Evaluation, model: ModelFiles) -> ArtifactRecord:
    job, images, name = evaluation.job, evaluation.images, model.id
    labels, expected = images.labels, metrics.top1(images.logits[REFERENCE])
    answers = metrics.top1(images.logits[name])
    own, temperatures = evaluation.calibrated(images, name), evaluation.temperatures
    reference = gates.in_units_of(name, evaluation.calibrated(images, REFERENCE), temperatures)
    on_goldens = gates.in_units_of(name, evaluation.golden[REFERENCE], temperatures)
    proven_on = _proven_on(evaluation, model) if model.precision == "int8" else None
    return model.record(
        job.staging,
        gates.limits(model.precision, evaluation.golden[name], on_goldens, job.recipe.export.max_drop),
        accuracy=metrics.accuracy(labels, answers),
        **metrics.paired_drop(labels, expected, answers).fields(),
        agreement=metrics.agreement(expected, answers),
        max_abs_diff=metrics.max_abs_diff(reference, own),
        confidence=_confidence(evaluation, name),
        proven_on=proven_on,
        requires=_requires(job, model, proven_on or ()),
        confusion=metrics.compact(metrics.confusion(labels, answers, len(job.dataset.labels))),
        changed=gates.changed(images.samples, job.dataset.labels, expected, answers),
    )


def _requires(job: ExportJob, model: ModelFiles, proven_on: Sequence[ProvenOn]) -> tuple[str, ...]:
    """What the ladder found, and for an artifact that is made for CPUs with dot products also where a CPU without has
    shown more than the budget."""
    settings = job.recipe.export
    here = dot_products("openvino")
    if model.requires or model.family != "openvino" or settings.target_cpu in ("any", "avx2") or not here:
        return model.requires
    over = [row for row in proven_on if row.cap and not row.within(settings.max_drop)]
    return REQUIRED if over else ()


def _proven_on(evaluation: _Evaluation, model: ModelFiles) -> tuple[ProvenOn, ...]:
    """Its first row is this CPU's. Where no sum can be cut, the slowest of the lesser instruction sets is left out."""
    job, images = evaluation.job, evaluation.images
    expected, answers = metrics.top1(images.logits[REFERENCE]), metrics.top1(images.logits[model.id])
    rows = [instruction_sets.on_this_cpu(images.labels, expected, answers)]
    if model.family == "openvino":
        proven = model.ladder is not None and model.ladder.chosen.may_saturate == ()
        lesser = [cap for cap in isa_caps.caps() if not (proven and cap == "SSE41")]
        rows += instruction_sets.under_caps(
            job, job.staging / model.files[0], images.samples, expected, lesser
        )
    for row in rows:
        if row.fault is not None:
            job.listener.note(f"warning: {model.id} does not run on {row.isa}: {row.fault}")
    return tuple(rows)


def _confidence(evaluation: _Evaluation, name: str) -> ConfidenceRecord:
    """Where the evaluation images fitted the temperature too, each half of them is calibrated by the other half's."""
    images, fitting, recipe = evaluation.images, evaluation.fitting, evaluation.job.recipe
    raw, divided_by = images.logits[name], evaluation.temperatures[name]
    same, own = fitting is images, evaluation.calibrated(images, name)
    shown = calibration.held_out(images.labels, raw, recipe.seed) if same and divided_by != 1.0 else own
    record = calibration.figures(images.labels, raw, shown, divided_by)
    if recipe.export.threshold is None:
        return record
    data = ThresholdData(
        labels=images.labels,
        fitted_reference=evaluation.calibrated(fitting, REFERENCE),
        fitted=evaluation.calibrated(fitting, name),
        evaluated=own,
        held_out_by=recipe.seed if same else None,
    )
    return replace(record, threshold=threshold_record(recipe.export.threshold, data, shown))


def remaining(job: ExportJob, models: Sequence[ModelFiles]) -> list[ModelFiles]:
    """Without what is missing, whose files go too. Raises `EdgeTLError` where nothing is left."""
    for model in models:
        if model.id in job.missing:
            remove_files(job.staging, model.files)
    left = [model for model in models if model.id not in job.missing]
    if not left:
        raise nothing_runs(job)
    return left


def remove_files(staging: Path, names: Sequence[str]) -> None:
    """Of an artifact that does not run."""
    for name in names:
        (staging / name).unlink(missing_ok=True)


def nothing_runs(job: ExportJob) -> EdgeTLError:
    """The error where no artifact is left."""
    why = "; ".join(f"{name}: {reason}" for name, reason in job.missing.items())
    return EdgeTLError(f"no artifact runs here: {why}. Update the runtimes, or take another model.")
