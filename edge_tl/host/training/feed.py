"""Augmented batches for the loop: by workers from decoded images, or on the device that holds the pixels. Trains
nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from edge_tl.host import accelerator
from edge_tl.host.images import augment, batches, gpu_augment
from edge_tl.host.images.pixel_cache import PixelCache
from edge_tl.host.images.shared_memory import Handover, plan_handover
from edge_tl.host.training import distributed
from edge_tl.host.training.job import TrainingJob

MOST = 16  # workers, where nobody asks for more


def plan_feed(job: TrainingJob, device: torch.device) -> Handover:
    """Keep the training pixels on `device` where they fit and are augmented in batches, and decide on the workers."""
    free = accelerator.free_bytes(device)
    fits = free is not None and isinstance(job.train, PixelCache) and job.train.bytes < free // 2
    # What is not augmented in batches is made by workers, which read from files.
    if fits and isinstance(job.train, PixelCache) and gpu_augment.is_supported(job.recipe.augment):
        job.train.to(device)
    count = workers(job.recipe.train.workers)
    if _resident(job):  # the workers draw numbers only
        return Handover(count, pipes=True)
    images = -(-min(job.recipe.train.batch_size, len(job.labels)) // distributed.count())
    return plan_handover(count, 3 * images * max(job.sizes) ** 2, processes=distributed.count())


def workers(asked: int | None) -> int:
    """Processes that augment: what is `asked`, else one for each thread of this process, up to `MOST`."""
    return min(distributed.threads(), MOST) if asked is None else asked


def make_batches(job: TrainingJob, keys: batches.BatchPlan, means: Handover) -> Iterable[torch.Tensor]:
    """uint8 `(n, 3, size, size)` for each batch of `keys`."""
    seed, store = job.recipe.seed, job.train
    if isinstance(store, PixelCache) and store.resident:
        drawn = gpu_augment.AugmentParameters(
            store.shapes(), job.recipe.augment, job.sizes, job.contract, seed
        )
        rows = batches.augmented_batches(drawn, keys, means.workers, pipes=means.pipes)
        return map(gpu_augment.GpuAugment(store, job.sizes, job.contract), rows)
    transforms: dict[int, Any] = {
        size: augment.image_transform(job.recipe.augment, size, job.contract) for size in set(job.sizes)
    }
    dataset = batches.AugmentedImages(store, [transforms[size] for size in job.sizes], seed)
    return batches.augmented_batches(dataset, keys, means.workers, pipes=means.pipes)


def _resident(job: TrainingJob) -> bool:
    return isinstance(job.train, PixelCache) and job.train.resident
