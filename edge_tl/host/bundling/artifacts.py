"""The model files of a bundle: FP32, INT8 by the ladder, FP16, 8-bit weights; it must not judge them for shipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.host.bundling import confidence, evidence
from edge_tl.host.compress import FP16, W8, compress
from edge_tl.host.export import to_onnx, to_openvino
from edge_tl.host.images import decoded
from edge_tl.host.images.data import Dataset, Sample
from edge_tl.host.int8 import ladder
from edge_tl.host.int8.workshop import Workshop, keep
from edge_tl.host.listeners import Note
from edge_tl.host.reference import TorchRuntime
from edge_tl.host.settings import Recipe
from edge_tl.target import bundle as bundles
from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import EdgeTLError
from edge_tl.target.machine import has_vnni
from edge_tl.target.progress import Progress
from edge_tl.target.runtime import open_runtime

PRECISIONS = ("fp32", "int8", FP16, W8)
_MOST_SELECTED = 5000
_MOST_FITTING = 2000
_HALF_FLOOR = "onnxruntime>=1.17"  # its CPU kernels of the operators that a half-precision graph casts around


def sets_of(dataset: Dataset, contract: Preprocess, recipe: Recipe) -> dict[str, list[Sample]]:
    """The images of each purpose: "evaluation"; for INT8 "calibration" and "selection", all three disjoint; and
    "confidence", which fits temperatures: validation images, the evaluation's own where there is no test split."""
    sets = {"evaluation": evidence.evaluation_set(dataset)[1]}
    apart = dataset.split("test") and dataset.split("val")
    sets["confidence"] = (
        evidence.selection_set(dataset, 0, _MOST_SELECTED, recipe.seed) if apart else sets["evaluation"]
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
        sets["calibration"] = evidence.calibration_set(dataset, count, recipe.seed)
        sets["selection"] = evidence.selection_set(dataset, count, most, recipe.seed)
    return sets


def training_set(dataset: Dataset, selection: Sequence[Sample]) -> list[Sample]:
    """What training in INT8 learns from: the training images that select nothing, or all where those are fewer than
    half. It sees no labels, and what selects are blends then; but a candidate's answers on images that it was made to
    repeat promise too much."""
    whole = dataset.split("train")
    selecting = {sample.digest for sample in selection}
    rest = [sample for sample in whole if sample.digest not in selecting]
    return rest if 2 * len(rest) >= len(whole) else whole


def write_artifacts(
    reference: TorchRuntime,
    staging: Path,
    contract: Preprocess,
    dataset: Dataset,
    sets: dict[str, list[Sample]],
    recipe: Recipe,
    progress: Progress,
    note: Note,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Write the model files; one record each, not yet judged. And what could not be made, by id, with the reason."""
    labels, extra = dataset.labels, recipe.export.precisions
    steps = 2 + 2 * recipe.export.int8 + 2 * len(extra)
    fp32_onnx, fp32_xml = staging / "model.fp32.onnx", staging / "model.fp32.xml"
    progress("export", 0, steps)
    floor = to_onnx(reference.model, fp32_onnx, contract, labels)
    progress("export", 1, steps)
    to_openvino(fp32_onnx, fp32_xml, contract, labels)
    progress("export", 2, steps)
    missing: dict[str, str] = {}
    of_ir = {"runtime_floor": "openvino>=2022.1 (IR 11)"}
    made: list[tuple[str, str, list[str], dict[str, Any]]] = [
        ("onnx", "fp32", ["model.fp32.onnx"], floor),
        ("openvino", "fp32", ["model.fp32.xml", "model.fp32.bin"], of_ir),
    ]
    if recipe.export.int8:
        workshop = _workshop(reference, staging, contract, dataset, sets, recipe, progress)
        settings = recipe.export
        seconds = settings.time_budget_s or math.inf
        limits = ladder.Limits(settings.max_drop, settings.ladder, seconds, settings.max_float)
        vnni = has_vnni() if settings.target_cpu == "native" else settings.target_cpu != "avx2"
        if vnni and not has_vnni():
            note(
                f"INT8 for {settings.target_cpu} cannot be proven on this CPU, whose OpenVINO kernels saturate: judge "
                "it there, with edge-tl verify --data"
            )
        for runtime, name, files, facts in (
            ("onnx", "model.int8.onnx", ["model.int8.onnx"], floor),
            ("openvino", "model.int8.xml", ["model.int8.xml", "model.int8.bin"], of_ir),
        ):
            try:
                climbed = ladder.climb(
                    workshop, runtime, limits, vnni=vnni, note=note, judged_here=vnni == has_vnni()
                )
            except EdgeTLError as error:
                note(f"{runtime}-int8: {error}")
                missing[f"{runtime}-int8"] = str(error)
                continue
            if not climbed.passed:
                note(f"{runtime}-int8: {climbed.reason}")
            keep(climbed.best, staging / name)
            made.append(
                (
                    runtime,
                    "int8",
                    files,
                    facts
                    | {
                        "quantization": climbed.best.to_json()["settings"]
                        | {"target_cpu": settings.target_cpu},
                        "ladder": climbed.to_json(),
                    },
                )
            )
            progress("export", len(made), steps)
    for precision in dict.fromkeys(extra):
        for runtime, source, names, facts in (
            ("onnx", fp32_onnx, [f"model.{precision}.onnx"], floor | {"runtime_floor": _HALF_FLOOR}),
            ("openvino", fp32_xml, [f"model.{precision}.xml", f"model.{precision}.bin"], of_ir),
        ):
            compress(precision, source, staging / names[0], contract, labels)
            made.append((runtime, precision, names, facts))
            progress("export", len(made), steps)
    return [
        {
            "id": f"{runtime}-{precision}",
            "runtime": "onnxruntime" if runtime == "onnx" else runtime,
            "precision": precision,
            "files": [bundles.file_record(staging, name) for name in files],
            **details,
        }
        for runtime, precision, files, details in made
    ], missing


def _workshop(
    reference: TorchRuntime,
    staging: Path,
    contract: Preprocess,
    dataset: Dataset,
    sets: dict[str, list[Sample]],
    recipe: Recipe,
    progress: Progress,
) -> Workshop:
    scratch = staging / "scratch"
    scratch.mkdir()

    calibration = evidence.inputs(contract, dataset, sets["calibration"], scratch / "calibration.npy")
    evidence.inputs(contract, dataset, sets["selection"], scratch / "selection.npy")
    if not dataset.split("test"):  # then they are training images
        evidence.blend(scratch / "selection.npy", recipe.seed)

    def training() -> decoded.Images:
        sources = dataset.sources(training_set(dataset, sets["selection"]))
        read = decoded.framed(contract)
        decoded.keep(sources, read, scratch / "train", progress)
        return decoded.reopen(sources, read, scratch / "train")

    flip = recipe.augment.flip
    workshop = Workshop(
        model=reference.model,
        fp32_onnx=staging / "model.fp32.onnx",
        fp32_xml=staging / "model.fp32.xml",
        scratch=scratch,
        contract=contract,
        labels=dataset.labels,
        calibration=calibration,
        selection=np.load(scratch / "selection.npy", mmap_mode="r"),
        answers=np.array([s.label for s in sets["selection"]], np.int64),
        training=training,
        seed=recipe.seed,
        flip=flip > 0 if flip is not None else recipe.augment.preset != "none",
        progress=progress,
    )
    workshop.temperature = _temperature(workshop, dataset, sets, recipe, progress)
    return workshop


def _temperature(
    workshop: Workshop,
    dataset: Dataset,
    sets: dict[str, list[Sample]],
    recipe: Recipe,
    progress: Progress,
) -> float:
    """FP32's, on images that it has not learned from: those that select, or, where they are blends of training images,
    some of those that fit the temperature that is shipped. One number is all that the ladder learns from them."""
    if dataset.split("test"):
        return confidence.temperature(workshop.answers, workshop.expected, recipe.seed)
    some = evidence.in_proportion(sets["confidence"], recipe.seed)[:_MOST_FITTING]
    runtimes = {"fp32": open_runtime(workshop.fp32_onnx)}
    logits = evidence.evaluate(runtimes, workshop.contract, dataset, some, progress)["fp32"]
    return confidence.temperature(np.array([s.label for s in some], np.int64), logits, recipe.seed)
