"""The images a bundle is proven with: calibration from train, evaluation on what training never saw.

That the sets are disjoint is checked by content hash. Decides nothing about a result.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.images.loader import load_batches
from edge_tl.device.images.reading import with_retries
from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.shards import Member
from edge_tl.host.seeded import seeded_order


def calibration_set(dataset: Dataset, count: int, seed: int) -> list[Sample]:
    """At most `count` training images, classes in turn, in an order drawn from the seed and their content.

    Raises `EdgeTLError` if one of them is also in validation or test, which the split rules out.
    """
    chosen = in_turn(dataset.split("train"), seed)[:count]
    seen = {s.digest for s in dataset.samples if s.split != "train"}
    if leaked := [s.path for s in chosen if s.digest in seen]:
        raise EdgeTLError(f"calibration image {leaked[0]} is also an evaluation image. Fine-tune again.")
    return chosen


def selection_set(dataset: Dataset, calibration: int, count: int, seed: int) -> list[Sample]:
    """At most `count` images on which INT8 candidates are compared, in no other set: validation images where the
    evaluation has test images of its own, else training images beyond the first `calibration`, which `blend` then
    makes unseen."""
    pool = dataset.split("val")
    if not dataset.split("test"):
        pool = in_turn(dataset.split("train"), seed)[calibration:]
    return in_proportion(pool, seed)[:count]


def evaluation_set(dataset: Dataset) -> tuple[str, list[Sample]]:
    """What artifacts are evaluated on: the test images, or the validation images where there are none."""
    split = "test" if dataset.split("test") else "val"
    return split, dataset.split(split)


def check_images(dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Raises `BadInput` when an image of `samples` is gone or has changed."""
    _unchanged(dataset, samples)


def inputs(
    contract: Preprocess, dataset: Dataset, samples: Sequence[Sample], store: Path
) -> NDArray[np.float32]:
    """`(n, 3, H, W)` model inputs of `samples`, in the file `store` and mapped, so that they take no memory however
    many they are. Raises `BadInput` when a file is not what the run saw."""
    shape = (len(samples), 3, *contract.input_size)
    mapped = np.lib.format.open_memmap(store, "w+", np.float32, shape)
    filled = 0
    for batch in batches(contract, dataset, samples):
        mapped[filled : filled + len(batch)] = batch
        filled += len(batch)
    mapped.flush()
    del mapped
    result: NDArray[np.float32] = np.load(store, mmap_mode="r")
    return result


def blend(store: Path, seed: int) -> None:
    """Mix a random share, at most half, of the next image into each of the images `(n, 3, H, W)` in the file `store`.

    A model is certain of images it was trained on, so that quantization changes hardly an answer there, whatever it
    does to others. Blends (Zhang et al., "mixup", 2018) it has not seen: MobileNetV2 on photographs was as certain of
    them as of validation images, and INT8 lost as much on them. Where the images come classes in turn, two that follow
    each other are of different classes; a blend keeps the label of its larger part.
    """
    images = np.load(store, mmap_mode="r+")
    shares = np.random.default_rng(seed).uniform(0.5, 1.0, len(images)).astype(np.float32)
    first = images[0].copy()
    for i, share in enumerate(shares):
        other = images[i + 1] if i + 1 < len(images) else first
        images[i] = share * images[i] + (1 - share) * other
    images.flush()


def evaluate(
    runtimes: Mapping[str, Runtime],
    inputs: Iterable[NDArray[np.float32]],
    count: int,
    listener: Listener,
    lost: Callable[[str, Exception], None] | None = None,
) -> dict[str, Logits]:
    """Logits `(count, classes)` of every runtime on the same `inputs`, batches of float32 `(n, 3, H, W)`. A runtime
    that fails is told to `lost` and left out, or, without that, its error raised."""
    parts: dict[str, list[Logits]] = {name: [] for name in runtimes}
    done = 0
    listener.progress("evaluation", 0, count)
    for batch in inputs:
        for name in list(parts):
            try:
                parts[name].append(runtimes[name](batch))
            except Exception as error:  # runtimes raise anything
                if lost is None:
                    raise
                lost(name, error)
                del parts[name]
        done += len(batch)
        listener.progress("evaluation", done, count)
    return {name: np.concatenate(logits) for name, logits in parts.items()}


def in_turn(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """One of each class, then another of each, and so on."""
    queues: dict[int, list[Sample]] = defaultdict(list)
    for sample in seeded_order(samples, seed, name=lambda s: s.digest):
        queues[sample.label].append(sample)
    rounds = zip_longest(*(queues[label] for label in sorted(queues)))
    return [sample for turn in rounds for sample in turn if sample is not None]


def in_proportion(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """In an order drawn from the seed and their content, of which every beginning holds the classes as the whole does:
    what some of the images shall say about all of them."""
    sizes = Counter(sample.label for sample in samples)
    ranks: Counter[int] = Counter()
    placed = []
    for sample in seeded_order(samples, seed, name=lambda s: s.digest):
        place = (ranks[sample.label] + 0.5) / sizes[sample.label]
        placed.append((place, sample.label, sample))
        ranks[sample.label] += 1
    return [sample for *_, sample in sorted(placed, key=lambda each: each[:2])]


def at_once(contract: Preprocess) -> int:
    """Images of a batch: 48 of 224 px, fewer of larger ones. Each call of a runtime costs it a start of threads;
    beyond 32 MiB glibc takes memory for a batch from the system each time (`DEFAULT_MMAP_THRESHOLD_MAX`)."""
    height, width = contract.input_size
    return max(1, min(48, 48 * 224 * 224 // (height * width)))


def batches(
    contract: Preprocess, dataset: Dataset, samples: Sequence[Sample]
) -> Iterator[NDArray[np.float32]]:
    """Model inputs `(n, 3, H, W)` of all `samples`, in their order, some at a time. Raises `BadInput` for an image that
    cannot be read any more: the run could, and without it inputs and labels would no longer belong together."""
    sources = _unchanged(dataset, samples)
    for batch in load_batches(contract, sources, size=at_once(contract)):
        for position, reason in batch.bad.items():
            raise BadInput(
                f"image of the run cannot be read here: {sources[position]}: {reason}. Export as the run was made."
            )
        yield batch.inputs


def _unchanged(dataset: Dataset, samples: Sequence[Sample]) -> list[Path | Member]:
    sources = dataset.sources(samples)
    for source, sample in zip(sources, samples, strict=True):
        try:
            content = with_retries(str(source), source.read_bytes)
            digest = hashlib.sha256(content).hexdigest()
        except FileNotFoundError:
            raise BadInput(
                f"image of the run is gone: {source}. Restore the data folder, or fine-tune again."
            ) from None
        except OSError as error:
            raise BadInput(
                f"image of the run cannot be read: {source}: {error.strerror or error}. Restore it, or fine-tune again."
            ) from None
        if digest != sample.digest:
            raise BadInput(f"image of the run has changed: {source}. Restore it, or fine-tune again.")
    return sources
