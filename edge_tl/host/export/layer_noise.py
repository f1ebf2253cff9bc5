"""The noise that INT8 adds to each layer, measured on golden images for the report. Judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_tl.device.bundle import GOLDEN_PIXELS
from edge_tl.device.records.artifact import ArtifactRecord, LayerError
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.export.job import ExportJob
from edge_tl.host.int8.layer_errors import layer_errors

IMAGES = 8


def with_layer_errors(job: ExportJob, record: BundleRecord) -> BundleRecord:
    """The record with the noise of ONNX Runtime's INT8, where its FP32 is there too and no channel was rescaled, after
    which outputs are not comparable. What fails is an entry."""
    fp32 = next((each for each in record.artifacts if each.id == "onnx-fp32"), None)
    if fp32 is None:
        return record
    artifacts = tuple(
        replace(each, layer_errors=_measured(job, fp32, each)) if _comparable(each) else each
        for each in record.artifacts
    )
    return replace(record, artifacts=artifacts)


def noise_on_goldens(fp32: Path, int8: Path, pixels: Path) -> list[LayerError]:
    """Of two files, on the first of the stored pixels."""
    with np.load(pixels, allow_pickle=False) as stored:
        return layer_errors(fp32, int8, stored["pixels"][:IMAGES])


def _comparable(artifact: ArtifactRecord) -> bool:
    made = artifact.quantization
    return artifact.id == "onnx-int8" and isinstance(made, Mapping) and not made.get("rescaled")


def _measured(job: ExportJob, fp32: ArtifactRecord, int8: ArtifactRecord) -> tuple[LayerError, ...] | None:
    files = (job.staging / fp32.main, job.staging / int8.main, job.staging / GOLDEN_PIXELS)
    try:
        found = job.isolated.call(noise_on_goldens, *files)
    except Exception as error:  # the runtime and its graphs raise anything, and this is for the report alone
        job.failed("layer_errors", error)
        return None
    return tuple(found) or None
