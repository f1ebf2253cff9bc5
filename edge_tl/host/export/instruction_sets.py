"""INT8 on this CPU's instruction set, and the same file under those of lesser CPUs. Concludes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import int8_isa, onednn_cap
from edge_tl.device.records.accuracy import ProvenOn
from edge_tl.host.export import isa_caps, kept_inputs
from edge_tl.host.export.job import ExportJob, said
from edge_tl.host.images.dataset import Sample

Answers = NDArray[np.int64]


def on_this_cpu(labels: Answers, expected: metrics.Ints, answers: metrics.Ints) -> ProvenOn:
    """What INT8 `answers` lose of PyTorch's (`expected`) with the instruction set that computed them here."""
    return _row(int8_isa(), onednn_cap()[1], None, (labels, expected, answers))


def under_caps(
    job: ExportJob, path: Path, samples: Sequence[Sample], expected: metrics.Ints, lesser: Sequence[str]
) -> list[ProvenOn]:
    """The OpenVINO model at `path` under the instruction sets `lesser` (oneDNN's names), on as many of the evaluation
    images `samples` as the disk should hold; `expected` are PyTorch's answers to them. What does not run is a row with
    its `fault`."""
    if not lesser:
        return []
    height, width = job.contract.input_size
    answer_to = {sample.digest: int(answer) for sample, answer in zip(samples, expected, strict=True)}
    some = kept_inputs.fitting(job.contract, samples, job.recipe.seed)
    stored = job.inputs.stored(some)
    if stored:
        some = stored[1]
    labels = np.array([sample.label for sample in some], np.int64)
    reference = np.array([answer_to[sample.digest] for sample in some], np.int64)
    rows = []
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inputs = stored[0] if stored else _written(Path(folder), job.inputs.batches(some))
        shape = (len(some), 3, height, width)
        for cap in lesser:
            name = isa_caps.NAMES[cap]
            try:
                logits, kernels = isa_caps.logits_under(cap, path, inputs, shape, Path(folder))
            except EdgeTLError as error:
                rows.append(ProvenOn(name, cap, fault=said(error)))
                continue
            rows.append(_row(name, cap, kernels, (labels, reference, metrics.top1(logits))))
    return rows


def _written(folder: Path, batches: Iterable[NDArray[np.float32]]) -> Path:
    path = folder / "inputs.f32"
    with path.open("wb") as file:
        for batch in batches:
            file.write(batch.astype("<f4", copy=False).tobytes())
    return path


def _row(
    isa: str | None,
    cap: str | None,
    kernels: dict[str, int] | None,
    answers: tuple[Answers, metrics.Ints, metrics.Ints],
) -> ProvenOn:
    labels, expected, got = answers
    drop = metrics.paired_drop(labels, expected, got)
    return ProvenOn(
        isa=isa,
        cap=cap,
        kernels=kernels,
        accuracy=metrics.accuracy(labels, got),
        drop_pp=drop.drop_pp,
        drop_ci_pp=drop.drop_ci_pp,
        agreement=metrics.agreement(expected, got),
        n=len(labels),
    )
