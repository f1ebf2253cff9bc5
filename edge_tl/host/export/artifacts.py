"""The model files of a bundle: FP32, INT8 by the ladder, FP16, 8-bit weights; it must not judge them for shipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device import bundle as bundles
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import has_vnni
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.compress import FP16, W8, compress
from edge_tl.host.convert.fp32 import to_onnx, to_openvino
from edge_tl.host.export import calibration as calibrations
from edge_tl.host.export import image_sets
from edge_tl.host.export.isolated_runtime import IsolatedRuntime
from edge_tl.host.export.job import ExportJob
from edge_tl.host.images import pixel_cache
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.int8 import ladder
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import move_files
from edge_tl.host.int8.rungs import LadderLimits
from edge_tl.host.recipe.schema import Recipe

PRECISIONS = ("fp32", "int8", FP16, W8)
_MOST_SELECTED = 5000
_MOST_FITTING = 2000
_HALF_FLOOR = "onnxruntime>=1.17"  # its CPU kernels of the operators that a half-precision graph casts around


def sets_of(dataset: Dataset, contract: Preprocess, recipe: Recipe) -> dict[str, list[Sample]]:
    """The images of each purpose: "evaluation"; for INT8 "calibration" and "selection", all three disjoint; and
    "confidence", which fits temperatures: validation images, the evaluation's own where there is no test split."""
    sets = {"evaluation": image_sets.evaluation_set(dataset)[1]}
    apart = dataset.split("test") and dataset.split("val")
    sets["confidence"] = (
        image_sets.selection_set(dataset, 0, _MOST_SELECTED, recipe.seed) if apart else sets["evaluation"]
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


def write_artifacts(job: ExportJob) -> list[dict[str, Any]]:
    """Write the model files; one record each, not yet judged. What cannot be made is an entry of `job.missing`. Raises
    `EdgeTLError` where nothing can."""
    labels, staging, settings = job.dataset.labels, job.staging, job.recipe.export
    extra = tuple(dict.fromkeys(settings.precisions))
    steps = 2 + 2 * settings.int8 + 2 * len(extra)
    fp32 = {"onnx": staging / "model.fp32.onnx", "openvino": staging / "model.fp32.xml"}
    job.listener.progress("export", 0, steps)
    # Everything else is made of this file: where it cannot be had, there is no artifact at all.
    floor = to_onnx(job.reference.model, fp32["onnx"], job.contract, labels)
    facts = {"onnx": floor.to_json(), "openvino": {"runtime_floor": "openvino>=2022.1 (IR 11)"}}
    made = [_Made("onnx", "fp32", facts["onnx"])]
    job.listener.progress("export", 1, steps)
    try:
        _to_openvino(job, fp32["onnx"], fp32["openvino"])
        made.append(_Made("openvino", "fp32", facts["openvino"]))
    except OSError:
        raise
    except Exception as error:  # the converter raises anything
        job.lacks("openvino-fp32", error)
    job.listener.progress("export", 2, steps)
    there = [each.runtime for each in made]
    if settings.int8:
        made += _quantized(job, there, facts, steps)
    for precision in extra:
        for runtime in ("onnx", "openvino"):
            more = facts[runtime] | ({"runtime_floor": _HALF_FLOOR} if runtime == "onnx" else {})
            one = _Made(runtime, precision, more)
            try:
                if runtime not in there:
                    raise EdgeTLError(f"not made: there is no {runtime}-fp32 to make it of")
                job.isolated.call(
                    compress, precision, fp32[runtime], staging / one.files[0], job.contract, labels
                )
                made.append(one)
            except OSError:
                raise
            except Exception as error:
                job.lacks(one.id, error)
            job.listener.progress("export", len(made), steps)
    return [each.record(staging) for each in made]


@dataclass(frozen=True)
class _Made:
    runtime: str
    precision: str
    facts: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.runtime}-{self.precision}"

    @property
    def files(self) -> list[str]:
        kinds = ("onnx",) if self.runtime == "onnx" else ("xml", "bin")
        return [f"model.{self.precision}.{kind}" for kind in kinds]

    def record(self, staging: Path) -> dict[str, Any]:
        return {
            "id": self.id,
            "runtime": "onnxruntime" if self.runtime == "onnx" else self.runtime,
            "precision": self.precision,
            "install": f"edge-tl[{'ort' if self.runtime == 'onnx' else self.runtime}]",
            "files": [bundles.file_record(staging, name).to_json() for name in self.files],
            **self.facts,
        }


def _to_openvino(job: ExportJob, onnx: Path, xml: Path) -> None:
    job.isolated.call(to_openvino, onnx, xml, job.contract, job.dataset.labels)


def _quantized(
    job: ExportJob, there: Sequence[str], facts: dict[str, dict[str, Any]], steps: int
) -> list[_Made]:
    """INT8 for each runtime that has an FP32 file."""
    settings = job.recipe.export
    source = _candidate_source(job)
    seconds = settings.time_budget_s or math.inf
    limits = LadderLimits(settings.max_drop, settings.ladder, seconds, settings.max_float)
    vnni = has_vnni() if settings.target_cpu == "native" else settings.target_cpu != "avx2"
    if vnni and not has_vnni():
        job.listener.note(
            f"INT8 for {settings.target_cpu} cannot be proven on this CPU, whose OpenVINO kernels saturate: judge "
            "it there, with edge-tl verify --data"
        )
    made = []
    for runtime in ("onnx", "openvino"):
        name = f"{runtime}-int8"
        try:
            if runtime not in there:
                raise EdgeTLError(f"not made: there is no {runtime}-fp32 to make it of")
            climbed = ladder.climb(
                source, runtime, limits, vnni=vnni, listener=job.listener, native=vnni == has_vnni()
            )
        except OSError:
            raise
        except Exception as error:
            job.lacks(name, error)
            continue
        if not climbed.record.passed:
            job.listener.note(f"{name}: {climbed.record.reason}")
        move_files(climbed.best, job.staging / _Made(runtime, "int8", {}).files[0])
        chosen = replace(climbed.record.chosen.settings, target_cpu=settings.target_cpu)
        more = {"quantization": chosen.to_json(), "ladder": climbed.record.to_json()}
        made.append(_Made(runtime, "int8", facts[runtime] | more))
        job.listener.progress("export", len(there) + len(made), steps)
    return made


def _candidate_source(job: ExportJob) -> CandidateSource:
    scratch = job.staging / "scratch"
    scratch.mkdir()
    contract, dataset, sets, recipe = job.contract, job.dataset, job.sets, job.recipe

    calibration = image_sets.inputs(contract, dataset, sets["calibration"], scratch / "calibration.npy")
    image_sets.inputs(contract, dataset, sets["selection"], scratch / "selection.npy")
    if not dataset.split("test"):  # then they are training images
        image_sets.blend(scratch / "selection.npy", recipe.seed)

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
        calibration=calibration,
        selection=np.load(scratch / "selection.npy", mmap_mode="r"),
        answers=np.array([s.label for s in sets["selection"]], np.int64),
        training=training,
        seed=recipe.seed,
        flip=flip > 0 if flip is not None else recipe.augment.preset != "none",
        listener=job.listener,
        isolated=job.isolated,
    )
    source.temperature = _temperature(source, job)
    return source


def _temperature(source: CandidateSource, job: ExportJob) -> float:
    """FP32's, on images that it has not learned from: those that select, or, where they are blends of training images,
    some of those that fit the temperature that is shipped. One number is all that the ladder learns from them."""
    seed = job.recipe.seed
    if job.dataset.split("test"):
        return calibrations.temperature(source.answers, source.expected, seed)
    some = image_sets.in_proportion(job.sets["confidence"], seed)[:_MOST_FITTING]
    runtimes = {"fp32": IsolatedRuntime(source.fp32_onnx, job.isolated)}
    logits = image_sets.evaluate(runtimes, source.contract, job.dataset, some, job.listener)["fp32"]
    return calibrations.temperature(np.array([s.label for s in some], np.int64), logits, seed)
