"""The decoded images that a backbone is trained on, in files of the run's folder. Augments nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import augment, pixel_cache
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.provenance import OF_PIXELS, package_versions
from edge_tl.host.training import distributed

DECODED = "decoded"


def train_sizes(recipe: Recipe, contract: Preprocess, epochs: int) -> list[int]:
    """The training resolution of each epoch: `train.image_sizes` in equal shares, or the strategy's own."""
    sizes = recipe.train.image_sizes or [contract.input_size[0]]
    return [sizes[min(epoch * len(sizes) // epochs, len(sizes) - 1)] for epoch in range(epochs)]


def training_reader(recipe: Recipe, contract: Preprocess, largest: int) -> pixel_cache.Read:
    """How training images are read, `largest` being the largest training size in pixels: shrunk, for crops at random
    where the device crops as well; else as the device resizes them, so that augmentation frames them as the device
    does, and its crops are of the squeezed or letterboxed image."""
    if augment.crops_at_random(recipe.augment) and contract.resize not in ("exact", "letterbox"):
        side = max(largest, min(contract.resize_size))
        return pixel_cache.ShrinkShorterSide(side, contract.interpolation, contract.max_pixels)
    return pixel_cache.ContractResized(
        augment.contract_at_size(contract, max(largest, contract.input_size[0]))
    )


def decode_images(
    dataset: Dataset, samples: Sequence[Sample], read: pixel_cache.Read, folder: Path, listener: Listener
) -> pixel_cache.Images:
    """Decoded by the main process, opened by all; they share a file system, as they share the run's folder.

    The folder is named by what is in it: images that a killed run of another recipe left there are not these.
    """
    sources = dataset.sources(samples)
    how = type(read).__name__, sorted(map(str, vars(read).items())), package_versions("edge-tl", *OF_PIXELS)
    facts = [s.digest for s in samples], how
    folder = folder.with_name(f"{folder.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}")
    if distributed.is_main():
        pixel_cache.fill_cache(sources, read, folder, listener)
    distributed.wait()
    return pixel_cache.open_cache(sources, read, folder)
