"""The accuracy that each classic mistake leaves, on some of the evaluation images; made once, at export."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.inputs import mistaken_inputs
from edge_tl.device.diagnosis.mistakes import Pipeline, single_mistakes
from edge_tl.device.metrics import top1, wilson_interval
from edge_tl.device.records.diagnosis import FingerprintRecord, FingerprintsRecord
from edge_tl.host.export import image_sets
from edge_tl.host.export.isolated_runtime import IsolatedRuntime
from edge_tl.host.export.job import ExportJob

_LEAST, _MOST = 48, 200
_AT_ONCE = 8  # images
_USUAL = 224 * 224


def measure_fingerprints(job: ExportJob, artifact: str, path: str) -> FingerprintsRecord:
    """With the model file `path`, below the staging folder, of `artifact`. Of images of 224 pixels as few as 48 are
    taken, of smaller ones more: each goes through the model once for every mistake."""
    height, width = job.contract.input_size
    count = min(_MOST, max(_LEAST, _LEAST * _USUAL // (height * width)))
    samples = image_sets.in_proportion(job.sets["evaluation"], job.recipe.seed)[:count]
    pipelines = _first_of_each([(), *single_mistakes(job.contract)])
    runtime = IsolatedRuntime(job.staging / path, job.isolated)
    right = np.zeros(len(pipelines), np.int64)
    sources = job.dataset.sources(samples)
    height, width = job.contract.input_size
    at_once = max(1, _AT_ONCE * 224 * 224 // max(height * width, 224 * 224))

    def mistaken(start: int) -> NDArray[np.float32]:
        some = sources[start : start + at_once]
        inputs = [mistaken_inputs(source.read_bytes(), job.contract, pipelines) for source in some]
        return np.stack([one for each in inputs for one in each])

    with ThreadPoolExecutor(1) as pool:  # the next images are made while the model answers
        coming = pool.submit(mistaken, 0)
        for start in range(0, len(samples), at_once):
            inputs, following = coming.result(), start + at_once
            if following < len(samples):
                coming = pool.submit(mistaken, following)
            answers = top1(runtime(inputs))
            labels = np.array([sample.label for sample in samples[start : start + at_once]])
            right += (answers.reshape(len(labels), len(pipelines)) == labels[:, None]).sum(axis=0)
    return _record(artifact, pipelines, right, len(samples))


def _record(artifact: str, pipelines: list[Pipeline], right: NDArray[np.int64], n: int) -> FingerprintsRecord:
    rows = [
        FingerprintRecord(pipeline[0].mistake, int(count) / n, wilson_interval(int(count), n))
        for pipeline, count in zip(pipelines, right, strict=True)
        if pipeline
    ]
    return FingerprintsRecord(artifact, n, int(right[0]) / n, wilson_interval(int(right[0]), n), tuple(rows))


def _first_of_each(pipelines: list[Pipeline]) -> list[Pipeline]:
    """One variant of each mistake."""
    found: dict[str, Pipeline] = {}
    for pipeline in pipelines:
        found.setdefault(pipeline[0].mistake if pipeline else "", pipeline)
    return list(found.values())
