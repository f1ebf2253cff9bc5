"""The model files of a bundle: FP32, INT8 by the ladder, FP16, 8-bit weights; chooses none of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device import bundle as bundles
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import has_vnni
from edge_tl.device.model_metadata import PRECISE, session_option
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.artifact import ArtifactRecord, LimitsRecord
from edge_tl.device.runtimes.families import BY_PREFIX
from edge_tl.host.convert.compress import FP16, W8, compress
from edge_tl.host.convert.fp32 import to_onnx, to_openvino
from edge_tl.host.export import calibration as calibrations
from edge_tl.host.export import image_sets, inputs_ahead, isa_caps
from edge_tl.host.export.isolated_runtime import IsolatedRuntime
from edge_tl.host.export.job import ExportJob
from edge_tl.host.images import pixel_cache
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.int8 import ladder
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import move_files
from edge_tl.host.int8.capped import CappedProcesses
from edge_tl.host.int8.records import LadderRecord, QuantizationRecord
from edge_tl.host.int8.rungs import LadderLimits
from edge_tl.host.int8.settings import TENSORRT
from edge_tl.host.int8.storage_plan import storage_plan
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.recipe.schema import Recipe

PRECISIONS = ("fp32", "int8", FP16, W8)
_MOST_SELECTED = 5000
_MOST_FITTING = 2000
_HALF_FLOOR = "onnxruntime>=1.17"  # its CPU kernels of the operators that a half-precision graph casts around


def sets_of(dataset: Dataset, contract: Preprocess, recipe: Recipe) -> dict[str, list[Sample]]:
    """The images of each purpose: "evaluation"; for INT8 "calibration" and "selection", all three disjoint; and
    "confidence", which fits temperatures: validation images, the evaluation's own where there is no test split."""
    sets = {"evaluation": image_sets.evaluation_set(dataset)[1]}
    separate = dataset.split("test") and dataset.split("val")
    sets["confidence"] = (
        image_sets.selection_set(dataset, 0, _MOST_SELECTED, recipe.seed) if separate else sets["evaluation"]
    )
    if recipe.export.int8:
        height, width = contract.input_size
        # As much work, whatever the size: small images are cheap, and more of them tell smaller drops apart.
        most = min(
            round(recipe.export.selection_images * max(1.0, 224 * 224 / (height * width))), _MOST_SELECTED
        )
        count = recipe.export.calibration_images
        if not dataset.split("test"):  # both from train: neither may starve the other
            count = min(count, len(dataset.split("train")) // 2)
        sets["calibration"] = image_sets.calibration_set(dataset, count, recipe.seed)
        sets["selection"] = image_sets.selection_set(dataset, count, most, recipe.seed)
    return sets


def training_set(dataset: Dataset, selection: Sequence[Sample]) -> list[Sample]:
    """What training in INT8 learns from: the training images that select nothing, or all where those are fewer than
    half. It sees no labels, and what selects are blends then; but a candidate's answers on images that it was made to
    repeat promise too much."""
    whole = dataset.split("train")
    selecting = {sample.digest for sample in selection}
    rest = [sample for sample in whole if sample.digest not in selecting]
    return rest if 2 * len(rest) >= len(whole) else whole


@dataclass(frozen=True)
class ModelFiles:
    """The files of an artifact that was made and not measured yet, below the staging folder. `family` is the prefix
    of one of `FAMILIES`."""

    family: str
    precision: str
    opset: int | None = None
    ir_version: int | None = None
    runtime_floor: str | None = None
    quantization: QuantizationRecord | None = None
    ladder: LadderRecord | None = None
    requires: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The artifact's."""
        return f"{self.family}-{self.precision}"

    @property
    def files(self) -> list[str]:
        """Names, the file that a runtime opens first."""
        family = BY_PREFIX[self.family]
        return [f"model.{self.precision}{suffix}" for suffix in (family.suffix, *family.beside)]

    def record(self, staging: Path, limits: LimitsRecord, **measured: Any) -> ArtifactRecord:
        """The artifact's record with the files as they are now and what was `measured`, by field."""
        family = BY_PREFIX[self.family]
        return ArtifactRecord(
            id=self.id,
            runtime=family.name,
            precision=self.precision,
            files=tuple(bundles.file_record(staging, name) for name in self.files),
            limits=limits,
            install=f"edge-tl[{family.extra}]",
            opset=self.opset,
            ir_version=self.ir_version,
            runtime_floor=self.runtime_floor,
            quantization=self.quantization and self.quantization.to_json(),
            ladder=self.ladder and self.ladder.to_json(),
            session_options=self._session_options(staging),
            **({"requires": self.requires} | measured),
        )

    def _session_options(self, staging: Path) -> dict[str, str] | None:
        """What the file says that ONNX Runtime needs."""
        if self.family != "onnx" or session_option(staging / self.files[0], PRECISE) != "1":
            return None
        return {PRECISE: "1"}


def write_artifacts(job: ExportJob) -> list[ModelFiles]:
    """Write the model files. What cannot be made is an entry of `job.missing`. Raises `EdgeTLError` where nothing
    can."""
    settings = job.recipe.export
    extra = tuple(dict.fromkeys(settings.precisions))
    steps = 2 + 2 * settings.int8 + 2 * len(extra)
    job.listener.progress("export", 0, steps)
    # Everything else is made of this file: where it cannot be had, there is no artifact at all.
    with inputs_ahead.decoding(job):
        made = [_fp32_onnx(job)]
    job.listener.progress("export", 1, steps)
    openvino = ModelFiles("openvino", "fp32", runtime_floor="openvino>=2022.1 (IR 11)")
    with job.entering(openvino.id):
        _to_openvino(job, job.staging / made[0].files[0], job.staging / openvino.files[0])
        made.append(openvino)
    job.listener.progress("export", 2, steps)
    whole = {each.family: each for each in made}
    if settings.int8:
        made += _quantized(job, whole, steps)
    for precision in extra:
        for family in BY_PREFIX:
            with job.entering(f"{family}-{precision}"):
                made.append(_compressed(job, _fp32_of(whole, family), precision))
            job.listener.progress("export", len(made), steps)
    return made


def _fp32_of(whole: Mapping[str, ModelFiles], family: str) -> ModelFiles:
    """Raises `EdgeTLError` where it could not be made."""
    if family not in whole:
        raise EdgeTLError(f"not made: there is no {family}-fp32 to make it of")
    return whole[family]


def _fp32_onnx(job: ExportJob) -> ModelFiles:
    path = job.staging / "model.fp32.onnx"
    versions = to_onnx(job.reference.model, path, job.contract, job.dataset.labels)
    return ModelFiles("onnx", "fp32", versions.opset, versions.ir_version, versions.runtime_floor)


def _to_openvino(job: ExportJob, onnx: Path, xml: Path) -> None:
    job.isolated.call(to_openvino, onnx, xml, job.contract, job.dataset.labels)


def _compressed(job: ExportJob, whole: ModelFiles, precision: str) -> ModelFiles:
    """FP16 or 8-bit weights of an FP32 artifact."""
    made = replace(whole, precision=precision)
    if whole.family == "onnx":
        made = replace(made, runtime_floor=_HALF_FLOOR)
    source, out = job.staging / whole.files[0], job.staging / made.files[0]
    job.isolated.call(compress, precision, source, out, job.contract, job.dataset.labels)
    return made


def _quantized(job: ExportJob, whole: Mapping[str, ModelFiles], steps: int) -> list[ModelFiles]:
    """INT8 for each runtime that has an FP32 file."""
    target_cpu = job.recipe.export.target_cpu
    if target_cpu in ("vnni", "arm") and not has_vnni():
        job.listener.note(
            f"INT8 for {target_cpu} cannot be proven on this CPU, whose OpenVINO kernels saturate: judge "
            "it there, with edge-tl verify --data"
        )
    lesser = isa_caps.caps()
    with (
        CappedProcesses(lesser if target_cpu == "any" else ()) as capped,
        # For another CPU everything is made and judged with no more than that one has.
        CappedProcesses(["AVX2"] if target_cpu == "avx2" and "AVX2" in lesser else ()) as instead,
    ):
        isolated = instead.process("AVX2") if instead.caps else job.isolated
        source = _candidate_source(job, capped, isolated)
        made = _climbed(job, source, whole, steps)
        job.sets["selection"] = job.sets["selection"][: len(source.selection)]
        return made


def _climbed(
    job: ExportJob, source: CandidateSource, whole: Mapping[str, ModelFiles], steps: int
) -> list[ModelFiles]:
    settings = job.recipe.export
    seconds = settings.time_budget_s or math.inf
    limits = LadderLimits(settings.max_drop, settings.ladder, seconds, settings.max_float)
    made: list[ModelFiles] = []
    for family in BY_PREFIX:
        with job.entering(f"{family}-int8"):
            fp32 = _fp32_of(whole, family)
            plan = storage_plan(family, settings.target_cpu, vnni=has_vnni())
            result = ladder.climb(source, family, limits, plan, listener=job.listener)
            record = result.record
            chosen = replace(record.chosen.settings, target_cpu=settings.target_cpu)
            int8 = replace(
                fp32, precision="int8", quantization=chosen, ladder=record, requires=record.requires
            )
            if not record.passed:
                job.listener.note(f"{int8.id}: {record.reason}")
            move_files(result.best, job.staging / int8.files[0])
            made.append(int8)
            job.listener.progress("export", len(whole) + len(made), steps)
    return made


def _candidate_source(job: ExportJob, capped: CappedProcesses, isolated: IsolatedProcess) -> CandidateSource:
    scratch = job.scratch
    contract, dataset, sets, recipe = job.contract, job.dataset, job.sets, job.recipe
    whole, first = len(sets["selection"]), inputs_ahead.first_selected(job)
    selection, answers = inputs_ahead.selection_inputs(job, first)

    def training() -> pixel_cache.Images:
        sources = dataset.sources(training_set(dataset, sets["selection"]))
        read = pixel_cache.ContractPixels(contract)
        pixel_cache.fill_cache(sources, read, scratch / "train", job.listener)
        return pixel_cache.open_cache(sources, read, scratch / "train")

    flip = recipe.augment.flip
    source = CandidateSource(
        model=job.reference.model,
        fp32_onnx=job.staging / "model.fp32.onnx",
        fp32_xml=job.staging / "model.fp32.xml",
        scratch=scratch,
        contract=contract,
        labels=dataset.labels,
        calibration=inputs_ahead.calibration_inputs(job),
        selection=selection,
        answers=answers,
        more=partial(inputs_ahead.selection_inputs, job, whole) if first < whole else None,
        training=training,
        seed=recipe.seed,
        flip=flip > 0 if flip is not None else recipe.augment.preset != "none",
        listener=job.listener,
        isolated=isolated,
        capped=capped,
        symmetric=recipe.export.device_profile == TENSORRT,
    )
    source.temperature = _temperature(source, job)
    return source


def _temperature(source: CandidateSource, job: ExportJob) -> float:
    """FP32's, on images that it has not learned from: those that select, or, where they are blends of training images,
    some of those that fit the temperature that is shipped. One number is all that the ladder learns from them."""
    seed = job.recipe.seed
    if job.dataset.split("test"):
        return calibrations.temperature(source.answers, source.expected, seed)
    some = job.sets["confidence"]  # in the order in which the evaluation asks for them again
    if len(some) > _MOST_FITTING:
        some = image_sets.in_proportion(some, seed)[:_MOST_FITTING]
    runtimes = {"fp32": IsolatedRuntime(source.fp32_onnx, job.isolated)}
    logits = image_sets.evaluate(runtimes, job.inputs.batches(some), len(some), job.listener)["fp32"]
    job.keep_logits("onnx-fp32", some, logits)  # the evaluation asks for them again
    return calibrations.temperature(np.array([s.label for s in some], np.int64), logits, seed)
