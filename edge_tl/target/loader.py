"""Folders and files of images as batches of model inputs, decoded ahead on the allowed cores.

It must not know what a label or a model is; a file that cannot be decoded is named, never half-read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import BadImage
from edge_tl.target.machine import cores_allowed

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".avif",
        ".jp2",
    ]
)


class Encoded(Protocol):
    """An encoded image that is no file of its own: a part of an archive, for one. A `Path` is one, too."""

    def read_bytes(self) -> bytes:
        """The whole encoded image. Raises `OSError`."""


@dataclass(frozen=True)
class Batch:
    """`inputs` float32 `(n, 3, H, W)` for the `n` positions in `indices`; `bad` maps a position to its fault."""

    indices: list[int]
    inputs: NDArray[np.float32]
    bad: dict[int, str]


def is_image_file(path: Path) -> bool:
    """By suffix, and not hidden: what a folder holds beside images (notes, caches) is never decoded."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def class_folders(root: Path) -> list[Path]:
    """The visible sub-folders of `root`, sorted by name: one per class."""
    return sorted(
        (p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))), key=lambda p: p.name
    )


def image_files(folder: Path) -> list[Path]:
    """Every image file below `folder`, sorted, skipping hidden folders."""
    return sorted(
        p
        for p in folder.rglob("*")
        if is_image_file(p) and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def batches(contract: Preprocess, sources: Sequence[Path | Encoded], *, size: int = 16) -> Iterator[Batch]:
    """Batches in the order of `sources`. Pillow releases the interpreter lock while it decodes and resizes, so
    threads overlap decoding with inference; a few batches are kept ahead, so memory stays bounded."""
    workers = cores_allowed()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: deque[Future[Batch]] = deque()
        try:
            for start in range(0, len(sources), size):
                positions = range(start, min(start + size, len(sources)))
                ahead.append(pool.submit(_load, contract, sources, positions))
                if len(ahead) > workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # an interrupted caller must not wait for what was queued
            for future in ahead:
                future.cancel()


def _load(contract: Preprocess, sources: Sequence[Path | Encoded], positions: range) -> Batch:
    indices, inputs, bad = [], [], {}
    for position in positions:
        try:
            inputs.append(contract.apply(_readable(sources[position])))
            indices.append(position)
        except BadImage as error:
            bad[position] = error.reason
    shape = (0, 3, *contract.input_size)
    return Batch(indices, np.stack(inputs) if inputs else np.empty(shape, np.float32), bad)


def _readable(source: Path | Encoded) -> Path | bytes:
    """What the contract decodes: Pillow opens files itself."""
    if isinstance(source, Path):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise BadImage(str(source), error.strerror or str(error)) from None
