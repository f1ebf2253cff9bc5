"""PyTorch and every artifact over the same images: accuracy, agreement, confidence, goldens; it must not time them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import bundle as bundles
from edge_tl.device import metrics
from edge_tl.device.bundle import REFERENCE
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import CAP_VARIABLE, int8_isa
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.host.export import calibration, gates, image_sets, isa_caps
from edge_tl.host.export.isolated_runtime import IsolatedRuntime
from edge_tl.host.export.job import ExportJob, said
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.provenance import provenance

_MOST_BYTES = 500_000_000  # of inputs, for an evaluation in another process


def judge(job: ExportJob, artifacts: list[dict[str, Any]]) -> dict[str, Any]:
    """The record without timings. Folds each artifact's temperature into its files, and the reference's into
    `job.reference`; writes the goldens below `job.staging`. An artifact that does not run is an entry of
    `job.missing`, and its files go. Raises `EdgeTLError` where none is left."""
    reference, staging, recipe, saved = job.reference, job.staging, job.recipe, job.saved
    contract, dataset, sets = job.contract, job.dataset, job.sets
    split, judged = image_sets.evaluation_set(dataset)
    labels = np.array([s.label for s in judged], np.int64)

    def lost(name: str, error: Exception) -> None:
        if name == REFERENCE:
            raise error
        job.lacks(name, error)

    def able() -> dict[str, Runtime]:
        """The reference, and the artifacts that load; the others are dropped."""
        found: dict[str, Runtime] = {REFERENCE: reference}
        for artifact in artifacts:
            with _entering(job, artifact["id"]):
                found[artifact["id"]] = IsolatedRuntime(staging / artifact["files"][0]["path"], job.isolated)
        return found

    runtimes = able()
    logits = image_sets.evaluate(runtimes, contract, dataset, judged, job.listener, lost)
    drop_missing(job, artifacts)
    fitting = sets["confidence"]
    apart = fitting is not sets["evaluation"]
    fit_labels = np.array([s.label for s in fitting], np.int64)
    if apart:
        left = {name: runtime for name, runtime in runtimes.items() if name not in job.missing}
        fit_logits = image_sets.evaluate(left, contract, dataset, fitting, job.listener, lost)
        drop_missing(job, artifacts)
    else:
        fit_logits = logits
    temperatures = _temperatures(artifacts, fit_labels, fit_logits, recipe)
    reference.temperature = temperatures[REFERENCE]
    for artifact in artifacts:
        with _entering(job, artifact["id"]):
            path = staging / artifact["files"][0]["path"]
            calibration.fold(path, temperatures[artifact["id"]], contract, dataset.labels)
            artifact["files"] = [
                bundles.file_record(staging, file["path"]).to_json() for file in artifact["files"]
            ]
    drop_missing(job, artifacts)
    golden = image_sets.write_goldens(
        staging, able(), contract, dataset, judged, recipe.export.golden_images, lost
    )
    host = golden.pop("logits")
    drop_missing(job, artifacts)

    kept = [name for name in temperatures if name in host]
    scaled = {name: logits[name] / np.float32(temperatures[name]) for name in kept}
    for_fitting = {name: fit_logits[name] / np.float32(temperatures[name]) for name in kept}

    def believed(name: str) -> dict[str, Any]:
        crossed = not apart and temperatures[name] != 1.0
        shown = calibration.held_out(labels, logits[name], recipe.seed) if crossed else scaled[name]
        row = calibration.figures(labels, logits[name], shown, temperatures[name])
        if recipe.export.threshold is not None:
            halves = None if apart else recipe.seed
            row["threshold"] = _coverage(
                recipe.export.threshold, name, labels, shown, scaled, for_fitting, halves
            )
        return row

    expected = metrics.top1(logits[REFERENCE])
    for artifact in artifacts:
        name = artifact["id"]
        got = metrics.top1(logits[name])
        if artifact["precision"] == "int8":
            artifact["proven_on"] = [
                {"isa": int8_isa(), "cap": os.environ.get(CAP_VARIABLE), **_figures(labels, expected, got)}
            ]
            if artifact["runtime"] == "openvino":
                artifact["proven_on"] += _under_caps(
                    staging / artifact["files"][0]["path"],
                    contract,
                    dataset,
                    image_sets.in_proportion(judged, recipe.seed),
                    {s.digest: (s.label, int(answer)) for s, answer in zip(judged, expected, strict=True)},
                )
                for row in artifact["proven_on"]:
                    if "fault" in row:
                        job.listener.note(f"warning: {name} does not run on {row['isa']}: {row['fault']}")
        artifact |= {
            "accuracy": metrics.accuracy(labels, got),
            **(drop := metrics.paired_drop(labels, expected, got)).fields(),
            "drop_ci_pp": list(drop.drop_ci_pp),
            "agreement": metrics.agreement(expected, got),
            "max_abs_diff": metrics.max_abs_diff(gates.in_units_of(name, scaled, temperatures), scaled[name]),
            "confidence": believed(name),
            "confusion": metrics.compact(metrics.confusion(labels, got, len(dataset.labels))),
            "changed": gates.changed(judged, dataset.labels, expected, got),
            "limits": gates.limits(artifact, host, temperatures, recipe.export.max_drop),
        }
    return {
        "schema_version": bundles.SCHEMA_VERSION,
        "name": "",
        "labels": dataset.labels,
        "preprocess": contract.to_json(),
        "reference": {
            "framework": f"pytorch {reference.version}",
            "accuracy": metrics.accuracy(labels, expected),
            "n": len(labels),
            "split": split,
            "confidence": believed(REFERENCE),
            "confusion": metrics.compact(metrics.confusion(labels, expected, len(dataset.labels))),
            "latency_ms": None,
        },
        "artifacts": artifacts,
        "recommended": None,
        "golden": golden,
        "provenance": anonymous(provenance(recipe).to_json())
        | {
            "model": saved.model,
            "pooled": saved.pooled,
            "hidden": list(saved.hidden),
            "weights": saved.weights,
            "strategy": saved.strategy,
            "finetune": anonymous(saved.provenance.to_json()),
            "sets": dataset.counts() | {name: len(samples) for name, samples in sets.items()},
        },
    }


def _figures(labels: metrics.Ints, expected: metrics.Ints, got: metrics.Ints) -> dict[str, Any]:
    drop = metrics.paired_drop(labels, expected, got)
    return {
        "accuracy": metrics.accuracy(labels, got),
        "drop_pp": drop.drop_pp,
        "drop_ci_pp": list(drop.drop_ci_pp),
        "agreement": metrics.agreement(expected, got),
        "n": len(labels),
    }


def _under_caps(
    path: Path,
    contract: Preprocess,
    dataset: Dataset,
    judged: list[Sample],
    answers: dict[str, tuple[int, int]],
) -> list[dict[str, Any]]:
    """The same file under the instruction sets of lesser CPUs, on as many evaluation images as the disk should hold,
    the first of `judged`; `answers` are label and PyTorch's answer by digest."""
    rows: list[dict[str, Any]] = []
    if not (lesser := isa_caps.caps()):
        return rows
    height, width = contract.input_size
    some = judged[: max(1, _MOST_BYTES // (12 * height * width))]
    labels, expected = np.array([answers[s.digest] for s in some], np.int64).T
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inputs = Path(folder) / "inputs.npy"
        image_sets.inputs(contract, dataset, some, inputs)
        for cap in lesser:
            row: dict[str, Any] = {"isa": isa_caps.NAMES[cap], "cap": cap}
            try:
                logits, row["kernels"] = isa_caps.logits_under(cap, path, inputs, Path(folder))
            except EdgeTLError as error:
                rows.append(row | {"fault": said(error)})
                continue
            rows.append(row | _figures(labels, expected, metrics.top1(logits)))
    return rows


@contextmanager
def _entering(job: ExportJob, name: str) -> Iterator[None]:
    """What fails inside is an entry of the artifact, but for a disk that is full or a folder that is gone."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # runtimes raise anything
        job.lacks(name, error)


def drop_missing(job: ExportJob, artifacts: list[dict[str, Any]]) -> None:
    """Take out what is missing, files and all. Raises `EdgeTLError` where nothing is left."""
    for artifact in [each for each in artifacts if each["id"] in job.missing]:
        artifacts.remove(artifact)
        for file in artifact["files"]:
            (job.staging / file["path"]).unlink(missing_ok=True)
    if not artifacts:
        why = "; ".join(f"{name}: {reason}" for name, reason in job.missing.items())
        raise EdgeTLError(f"no artifact runs here: {why}. Update the runtimes, or take another model.")


def _temperatures(
    artifacts: list[dict[str, Any]],
    labels: calibration.Labels,
    logits: dict[str, Logits],
    recipe: Recipe,
) -> dict[str, float]:
    """By id. FP32 artifacts share the reference's, so that they stay comparable number by number."""
    if not recipe.export.temperature:
        return dict.fromkeys(logits, 1.0)
    found = {REFERENCE: calibration.temperature(labels, logits[REFERENCE], recipe.seed)}
    for artifact in artifacts:
        own = artifact["precision"] != "fp32"
        name = artifact["id"]
        found[name] = calibration.temperature(labels, logits[name], recipe.seed) if own else found[REFERENCE]
    return found


def _coverage(
    threshold: float,
    name: str,
    labels: calibration.Labels,
    shown: NDArray[Any],
    scaled: dict[str, Logits],
    for_fitting: dict[str, Logits],
    held_out_by: int | None,
) -> dict[str, Any]:
    """The threshold is restored on the images that fitted the temperature, and judged on the evaluation images. Where
    those are the same, `held_out_by` is the seed of the halves of which each is judged by the other's threshold, else
    None. `shown` are the logits by which the threshold as asked is judged."""
    fitted, own = for_fitting[REFERENCE], for_fitting[name]
    restored = calibration.restoring(threshold, calibration.confident(fitted), calibration.confident(own))
    if held_out_by is None:
        at_restored = calibration.coverage(labels, scaled[name], restored)
    else:
        at_restored = calibration.held_out_coverage(threshold, labels, fitted, own, held_out_by)
    return {
        "asked": threshold,
        **calibration.coverage(labels, shown, threshold),
        "restoring": restored,
        "restored_coverage": at_restored["coverage"],
        "restored_accuracy": at_restored["accuracy"],
    }


def anonymous(facts: dict[str, Any]) -> dict[str, Any]:
    """Without the desk's paths: a bundle travels."""
    recipe = json.loads(json.dumps(facts["recipe"]))
    for section, key in (("data", "path"), ("model", "weights")):
        recipe[section][key] = Path(str(recipe[section][key])).name
    return facts | {"recipe": recipe}
