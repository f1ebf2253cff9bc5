"""Which training images come when, and the augmented batches of them. Knows no model and no loss.

Everything random is a function of (seed, epoch, image): not of what came before, how many workers there are or how
many processes share the work. So a run that goes on from a checkpoint sees what it would have seen.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from edge_tl.device.errors import EdgeTLError
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.images.shared_memory import AHEAD
from edge_tl.host.seeded import derive_seed

Labels = NDArray[np.int64]
SampleKey = tuple[int, int]
"""(epoch, image)."""


def epoch_order(labels: Labels, seed: int, epoch: int, balance: str) -> list[int]:
    """The images of an epoch: each once in random order, or, with `balance` "sampler", as many drawn with
    replacement so that every class is equally likely."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    if balance == "sampler":
        weights = 1.0 / np.bincount(labels)[labels]
        return list(WeightedRandomSampler(weights.tolist(), len(labels), generator=generator))
    return list(torch.randperm(len(labels), generator=generator).tolist())


def class_weights(labels: Labels, classes: int) -> torch.Tensor:
    """float32 `(classes,)` for the loss: inverse to how often a class comes, the mean over the images 1
    (scikit-learn's "balanced")."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches only, so that every step weighs the same; what is left over comes in another epoch. A set
    smaller than a batch is one batch."""
    return max(images // batch_size, 1)


@dataclass(frozen=True)
class BatchPlan:
    """This process's share of every batch of `epochs`, in order, less the first `skip` batches; `part` is its rank
    and how many processes there are. Drawn while it is read: the keys of many epochs would fill the memory."""

    labels: Labels
    seed: int
    epochs: range
    batch_size: int
    balance: str
    part: tuple[int, int] = (0, 1)
    skip: int = 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return islice(self._all(), self.skip, None)

    def __len__(self) -> int:
        return len(self.epochs) * steps_per_epoch(len(self.labels), self.batch_size) - self.skip

    def _all(self) -> Iterator[list[SampleKey]]:
        rank, processes = self.part
        for epoch in self.epochs:
            images = epoch_order(self.labels, self.seed, epoch, self.balance)
            for step in range(steps_per_epoch(len(images), self.batch_size)):
                batch = images[step * self.batch_size : (step + 1) * self.batch_size]
                yield [(epoch, i) for i in batch[rank::processes]]


class AugmentedImages(Dataset[Any]):
    """uint8 `(3, size, size)` for a `SampleKey`, by the transform of its epoch; the last one serves all later epochs.

    For an image that cannot be read it returns the error, which `augmented_batches` raises: an error that a worker
    raises arrives as text."""

    def __init__(self, images: Images, transforms: Sequence[Callable[[Any], Any]], seed: int) -> None:
        self.images, self.transforms, self.seed = images, transforms, seed

    def __getitem__(self, key: SampleKey) -> torch.Tensor | EdgeTLError:
        epoch, i = key
        torch.default_generator.manual_seed(derive_seed(self.seed, "augment", epoch, i))
        try:
            read = self.images[i]
        except EdgeTLError as error:
            return error
        image: torch.Tensor = self.transforms[min(epoch, len(self.transforms) - 1)](read)
        return image


def augmented_batches(
    dataset: Dataset[Any], keys: BatchPlan, workers: int, *, pipes: bool = False
) -> Iterable[torch.Tensor]:
    """What `dataset` gives for the keys of each batch, stacked: uint8 `(n, 3, size, size)` of `AugmentedImages`.

    Made ahead by `workers` processes (0: here, when asked for), which hand them over in shared memory, or with `pipes`
    without any. Iterating raises `BadImage` or `ReadError` for an image that cannot be read."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_array if pipes else _stacked,
        pin_memory=torch.cuda.is_available() and workers > 0 and not pipes,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator().manual_seed(0),  # else it takes a number from the global one
    )
    return map(_arrived, loader)


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C, a closed terminal and whoever stops a service reach every process of a group; the main one ends its step
    and then its workers, who end by themselves where it is gone."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


def _arrived(batch: torch.Tensor | NDArray[np.uint8] | EdgeTLError) -> torch.Tensor:
    if isinstance(batch, EdgeTLError):
        raise batch
    return torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch


def _stacked(images: list[torch.Tensor | EdgeTLError]) -> torch.Tensor | EdgeTLError:
    read = [image for image in images if isinstance(image, torch.Tensor)]
    return torch.stack(read) if len(read) == len(images) else _first_error(images)


def _first_error(images: list[torch.Tensor | EdgeTLError]) -> EdgeTLError:
    return next(image for image in images if isinstance(image, EdgeTLError))


def _array(images: list[torch.Tensor | EdgeTLError]) -> NDArray[np.uint8] | EdgeTLError:
    """A batch that is pickled whole, where a tensor's memory would be shared."""
    batch = _stacked(images)
    return batch.numpy() if isinstance(batch, torch.Tensor) else batch
