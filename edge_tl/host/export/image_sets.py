"""The images a bundle is proven with: calibration from train, evaluation on what training never saw, goldens.

That the sets are disjoint is checked by content hash. Decides nothing about a result.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device import bundle as bundles
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.images.decode import decode, format_anywhere, pixel_limit
from edge_tl.device.images.loader import load_batches
from edge_tl.device.images.reading import with_retries
from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import GoldenRecord
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.shards import Member
from edge_tl.host.seeded import seeded_order

_GOLDEN_BYTES = 300_000
_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "TIFF": ".tif",
    "JPEG2000": ".jp2",
}  # of Pillow's names; else the name itself


def calibration_set(dataset: Dataset, count: int, seed: int) -> list[Sample]:
    """At most `count` training images, classes in turn, in an order drawn from the seed and their content.

    Raises `EdgeTLError` if one of them is also in validation or test, which the split rules out.
    """
    chosen = _in_turn(dataset.split("train"), seed)[:count]
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
        pool = _in_turn(dataset.split("train"), seed)[calibration:]
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


@dataclass(frozen=True)
class GoldenImages:
    """At most `count` goldens are made, of `samples` of the `dataset`."""

    dataset: Dataset
    samples: Sequence[Sample]
    count: int


def write_goldens(
    folder: Path,
    runtimes: Mapping[str, Runtime],
    contract: Preprocess,
    images: GoldenImages,
    lost: Callable[[str, Exception], None] | None = None,
) -> tuple[GoldenRecord, dict[str, Logits]]:
    """Encoded images, their contract pixels and every runtime's logits, below `folder/golden`; returns their record and
    the logits.

    Beside real evaluation images, classes in turn, there are variants of one that name a decoder's usual faults:
    an EXIF rotation, grey levels, a palette with transparency. `lost` as in `evaluate`.
    """
    dataset, samples, count = images.dataset, images.samples, images.count
    chosen = sorted(dataset.sources(_in_turn(samples, 0)), key=lambda source: _bytes(source) > _GOLDEN_BYTES)
    encoded = [_portable(source, contract) for source in chosen[: count - 3]]
    encoded += _variants(decode(encoded[0][1]))
    names = []
    (folder / "golden" / "images").mkdir(parents=True)
    for i, (suffix, content) in enumerate(encoded):
        names.append(f"golden/images/{i:02d}{suffix}")
        (folder / names[-1]).write_bytes(content)
    pixels = np.stack([contract.apply(content) for _, content in encoded])
    # One image a call, as a device's application does it and as `verify` will.
    logits = {}
    for name, runtime in runtimes.items():
        try:
            logits[name] = np.concatenate([runtime(pixels[i : i + 1]) for i in range(len(pixels))])
        except Exception as error:
            if lost is None:
                raise
            lost(name, error)
    np.savez_compressed(folder / bundles.GOLDEN_PIXELS, pixels=pixels)
    np.savez(folder / bundles.GOLDEN_LOGITS, allow_pickle=False, **logits)
    stored = (*names, bundles.GOLDEN_PIXELS, bundles.GOLDEN_LOGITS)
    files = tuple(bundles.file_record(folder, name) for name in stored)
    return GoldenRecord(tuple(names), files), logits


def _portable(source: Path | Member, contract: Preprocess) -> tuple[str, bytes]:
    """Suffix and content: the image as it is, or smaller and as a JPEG where a device might not read it: HEIC, or more
    pixels than Pillow allows unasked. The suffix is the format's: a user's own (`.png:large`) may be none
    that a bundle or the device's file system takes."""
    content = with_retries(str(source), source.read_bytes)
    if kind := format_anywhere(content):
        return _SUFFIXES.get(kind, f".{kind.lower()}"), content
    image = decode(content, max_pixels=contract.max_pixels)
    side = math.isqrt(int(min(pixel_limit(None), 1024**2)))
    image.thumbnail((side, side))
    return ".jpg", _encoded(image, "JPEG", quality=95)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def without_logits(folder: Path, golden: GoldenRecord, names: Collection[str]) -> GoldenRecord:
    """The goldens after the logits of the artifacts `names`, which are gone, were taken out of them."""
    path = folder / bundles.GOLDEN_LOGITS
    with np.load(path, allow_pickle=False) as found:
        kept = {name: found[name] for name in found.files if name not in names}
    np.savez(path, allow_pickle=False, **kept)
    return replace(golden, files=tuple(bundles.file_record(folder, file.path) for file in golden.files))


def _variants(image: Image.Image) -> list[tuple[str, bytes]]:
    image.thumbnail((512, 512))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # "turn a quarter clockwise to see me upright", as phones write it
    palette = image.quantize(32)
    return [
        (".jpg", _encoded(image, "JPEG", quality=90, exif=rotated)),
        (".png", _encoded(image.convert("L"), "PNG")),
        (".png", _encoded(palette, "PNG", transparency=0)),
    ]


def _in_turn(samples: Sequence[Sample], seed: int) -> list[Sample]:
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


def _bytes(source: Path | Member) -> int:
    return source.size if isinstance(source, Member) else source.stat().st_size


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
