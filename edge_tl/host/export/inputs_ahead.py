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

SELECTED_FIRST = 800
"""Selection images that a first candidate is tried on: of MobileNetV2 on photographs they tell the expected drop to 0.2
percentage points, a quarter of what the evaluation images tell of the counted one."""


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
    return SELECTED_FIRST if whole > 1.5 * SELECTED_FIRST else whole


def calibration_inputs(job: ExportJob) -> Inputs:
    """`(n, 3, H, W)` of the calibration images, mapped from a file of the scratch folder."""
    samples = job.sets["calibration"]
    return _mapped(job, samples, job.scratch / "calibration.npy", blended=False)


def selection_inputs(job: ExportJob, count: int) -> tuple[Inputs, NDArray[np.int64]]:
    """The first `count` selection images, as those of `calibration_inputs`, and their labels."""
    samples = job.sets["selection"][:count]
    store = job.scratch / f"selection{count}.npy"
    labels = np.array([sample.label for sample in samples], np.int64)
    return _mapped(job, samples, store, blended=_are_training_images(job)), labels


def _are_training_images(job: ExportJob) -> bool:
    return not job.dataset.split("test")


def _mapped(job: ExportJob, samples: Sequence[Sample], store: Path, *, blended: bool) -> Inputs:
    if not store.is_file():
        _write(job.contract, job.dataset, samples, store, job.recipe.seed if blended else None)
    found: Inputs = np.load(store, mmap_mode="r")
    return found


def _decode(job: ExportJob, given_up: Event) -> None:
    count, seed = first_selected(job), job.recipe.seed if _are_training_images(job) else None
    for samples, store, blend in (
        (job.sets["calibration"], job.scratch / "calibration.npy", None),
        (job.sets["selection"][:count], job.scratch / f"selection{count}.npy", seed),
    ):
        if not given_up.is_set():
            job.isolated.call(_write, job.contract, job.dataset, samples, store, blend)
    if not given_up.is_set():
        job.inputs.decode_in(job.isolated)


def _write(
    contract: Preprocess, dataset: Dataset, samples: Sequence[Sample], store: Path, seed: int | None
) -> None:
    """The file is whole or not there; with a `seed` its images are blends."""
    part = store.with_suffix(".part.npy")
    image_sets.inputs(contract, dataset, samples, part)
    if seed is not None:
        image_sets.blend(part, seed)
    part.replace(store)
