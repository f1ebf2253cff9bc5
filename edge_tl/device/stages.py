"""The stages of preprocessing one by one, and the samples of them that a bundle holds.

    decode   the pixels as the file stores them, as RGB     orient   upright
    resize   with a letterbox's bars                        crop     what the model sees, in levels
    normalize  the model's input

Judges nothing. A sample is the pixels at the crossings of a grid, as they are: a mean would hide noise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.arrays import Shape, read_levels
from edge_tl.device.errors import BundleError
from edge_tl.device.files import read_json, write_json
from edge_tl.device.images.decode import examine
from edge_tl.device.images.reading import EncodedImage
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import GoldenRecord
from edge_tl.device.records.stages import StageRecord, StagesRecord

STAGES_FILE = "golden/stages.npz"
STAGES_RECORD = "golden/stages.json"
OF_LEVELS = ("decode", "orient", "resize", "crop")  # uint8 (h, w, 3)
GRID = 64  # crossings a side
_MOST_JSON = 16 << 20  # bytes; a thousand goldens of 32 artifacts have less
_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}  # every other turn undoes itself


@dataclass(frozen=True)
class StoredStages:
    """What the stages gave at export: the record, and by stage the samples, uint8 `(n, GRID, GRID, 3)`."""

    record: StagesRecord
    samples: dict[str, NDArray[np.uint8]]


def stages_of(contract: Preprocess, source: Path | bytes | EncodedImage) -> dict[str, NDArray[Any]]:
    """By stage, in their order: uint8 `(h, w, 3)`; of `normalize` float32 `(3, H, W)`. Raises `BadImage`,
    `ReadError`."""
    decoded = examine(source, max_pixels=contract.max_pixels)
    upright, turn = decoded.image, decoded.turn
    stored = upright if turn is None else upright.transpose(_BACK.get(turn, turn))
    resized = contract.resized(decoded)
    cropped = contract.cropped(resized)
    return {
        "decode": np.asarray(stored),
        "orient": np.asarray(upright),
        "resize": resized,
        "crop": cropped,
        "normalize": contract.normalize(cropped),
    }


def stage_record(array: NDArray[Any]) -> StageRecord:
    """Its shape and the SHA-256 of its bytes."""
    return StageRecord(tuple(array.shape), array_sha256(array))


def array_sha256(array: NDArray[Any]) -> str:
    """Of the bytes in C order, little-endian."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.reshape(-1).view(np.uint8).data).hexdigest()


def crossings(length: int) -> NDArray[np.int64]:
    """The rows, or columns, that are sampled: the middles of at most `GRID` equal parts."""
    count = min(GRID, length)
    return (np.arange(count, dtype=np.int64) * 2 + 1) * length // (2 * count)


def sampled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of `(h, w, 3)` the pixels at the crossings: `(min(GRID, h), min(GRID, w), 3)`."""
    height, width = pixels.shape[:2]
    return pixels[np.ix_(crossings(height), crossings(width))]


def framed_sample(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`sampled`, with zeros to `(GRID, GRID, 3)`, as it is stored."""
    sample = sampled(pixels)
    frame = np.zeros((GRID, GRID, 3), np.uint8)
    frame[: sample.shape[0], : sample.shape[1]] = sample
    return frame


def has_stages(golden: GoldenRecord) -> bool:
    """Whether the bundle holds them; older ones do not."""
    return STAGES_RECORD in {file.path for file in golden.files}


def sample_shapes(golden: GoldenRecord) -> dict[str, Shape]:
    """What `STAGES_FILE` must hold."""
    return dict.fromkeys(OF_LEVELS, (len(golden.images), GRID, GRID, 3))


def read_stages(root: Path, golden: GoldenRecord) -> StoredStages | None:
    """What the bundle at `root`, which was checked, holds of them; None of an older one. Raises `BundleError` where it
    is of other images."""
    if not has_stages(golden):
        return None
    return StoredStages(_record(root, golden), read_levels(root / STAGES_FILE, sample_shapes(golden)))


def keep_answers(root: Path, golden: GoldenRecord, names: set[str]) -> None:
    """Take the answers of all but the artifacts `names` out of the record at `root`."""
    if not has_stages(golden):
        return
    images = tuple(
        replace(
            each,
            logits={name: digest for name, digest in each.logits.items() if name in names},
            label={name: place for name, place in each.label.items() if name in names},
        )
        for each in _record(root, golden).images
    )
    write_json(root / STAGES_RECORD, StagesRecord(images).to_json())


def _record(root: Path, golden: GoldenRecord) -> StagesRecord:
    path = root / STAGES_RECORD
    record = StagesRecord.from_json(read_json(path, most=_MOST_JSON), str(path), newer_keys=True)
    if tuple(each.image for each in record.images) != golden.images:
        raise BundleError(f"{path}: it is of other images than the bundle's. Export again.")
    return record
