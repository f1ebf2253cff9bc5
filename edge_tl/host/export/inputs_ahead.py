"""Model inputs of the images that INT8 is made of and judged by, decoded while PyTorch traces its graph on one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.model_file import Inputs
from edge_tl.host.export import image_sets
from edge_tl.host.export.job import ExportJob
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.isolated import ProcessDied


@contextmanager
def decoding(job: ExportJob) -> Iterator[None]:
    """Decode them in `job.isolated`, which serves nobody else meanwhile, and wait for it at the end. Where that process
    ends instead, they are decoded here when they are asked for. Raises what decoding raises; what the body raises, at
    once."""
    if not job.recipe.export.int8:
        yield
        return
    job.isolated.start()
    given_up = Event()
    with ThreadPoolExecutor(1) as pool:
        decoded = pool.submit(_decode, job, given_up)
        try:
            yield
        except BaseException:
            given_up.set()
            job.isolated.close()
            raise
        try:
            decoded.result()
        except ProcessDied as error:
            job.listener.note(f"decoding images ahead: {error}; they are decoded later")


def first_selected(job: ExportJob) -> int:
    """How many selection images come first: all, where the rest would be few."""
    whole = len(job.sets["selection"])
    return image_sets.ENOUGH if whole > 1.5 * image_sets.ENOUGH else whole


def calibration_inputs(job: ExportJob) -> Inputs:
    """`(n, 3, H, W)` of the calibration images, mapped from a file of the scratch folder."""
    samples = job.sets["calibration"]
    return _mapped(job, samples, job.scratch / "calibration.npy", whole=len(samples))


def selection_inputs(job: ExportJob, count: int) -> tuple[Inputs, NDArray[np.int64]]:
    """The first `count` selection images, as those of `calibration_inputs`, and their labels."""
    samples = job.sets["selection"][:count]
    labels = np.array([sample.label for sample in samples], np.int64)
    whole = image_sets.unseen_first(samples)
    return _mapped(job, samples, job.scratch / f"selection{count}.npy", whole=whole), labels


def _mapped(job: ExportJob, samples: Sequence[Sample], store: Path, *, whole: int) -> Inputs:
    if not store.is_file():
        _write(job.contract, job.dataset, samples, store, (job.recipe.seed, whole))
    found: Inputs = np.load(store, mmap_mode="r")
    return found


def _decode(job: ExportJob, given_up: Event) -> None:
    count, calibration = first_selected(job), job.sets["calibration"]
    first = job.sets["selection"][:count]
    for samples, store, whole in (
        (calibration, job.scratch / "calibration.npy", len(calibration)),
        (first, job.scratch / f"selection{count}.npy", image_sets.unseen_first(first)),
    ):
        if not given_up.is_set():
            job.isolated.call(_write, job.contract, job.dataset, samples, store, (job.recipe.seed, whole))
    if not given_up.is_set():
        job.inputs.decode_in(job.isolated)


def _write(
    contract: Preprocess,
    dataset: Dataset,
    samples: Sequence[Sample],
    store: Path,
    seed_and_whole: tuple[int, int],
) -> None:
    """The file is whole or not there; beyond the first so many its images are blends, drawn from the seed."""
    part = store.with_suffix(".part.npy")
    image_sets.inputs(contract, dataset, samples, part)
    seed, whole = seed_and_whole
    image_sets.blend(part, seed, whole)
    part.replace(store)
