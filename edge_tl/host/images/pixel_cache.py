"""Images decoded once and kept as uint8 on disk, or on the GPU, for the epochs that follow. Augments nothing.

Images keep their own height and width; one file holds them end to end, a second, written last, where each begins.
They are read by position (`pread`), not mapped, so a data set larger than memory costs no memory.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_tl.device.images.decode import decode
from edge_tl.device.images.reading import with_retries
from edge_tl.device.listener import Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess

Pixels = NDArray[np.uint8]
Read = Callable[[Any], Pixels]
_INDEX, _PIXELS = "index.npy", "pixels.u8"


class PixelCache:
    """`len(store)` images; `store[i]` is uint8 `(3, h, w)`. Safe to use from forked workers."""

    def __init__(self, folder: Path) -> None:
        self.index: NDArray[np.int64] = np.load(folder / _INDEX)
        self._path = folder / _PIXELS
        self._file = -1
        self._owner = 0
        self._resident: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def shapes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return [(int(height), int(width)) for _, height, width in self.index]

    @property
    def bytes(self) -> int:
        """Size of all pixels."""
        return int(self.index[-1, 0] + 3 * self.index[-1, 1] * self.index[-1, 2]) if len(self) else 0

    @property
    def resident(self) -> bool:
        """Whether the pixels are kept on a device."""
        return self._resident is not None

    def to(self, device: torch.device) -> None:
        """Keep all pixels on `device`; images are then tensors there."""
        flat = torch.empty(self.bytes, dtype=torch.uint8, device=device)
        with self._path.open("rb") as file:
            for start in range(0, self.bytes, 1 << 26):
                chunk = torch.frombuffer(bytearray(file.read(1 << 26)), dtype=torch.uint8)
                flat[start : start + len(chunk)] = chunk.to(device)
        self._resident = flat

    def __getitem__(self, i: int) -> torch.Tensor:
        start, height, width = (int(v) for v in self.index[i])
        size = 3 * height * width
        if self._resident is not None:
            pixels = self._resident[start : start + size]
        else:
            if self._owner != os.getpid():  # each process its own descriptor
                self._file, self._owner = os.open(self._path, os.O_RDONLY), os.getpid()
            pixels = torch.frombuffer(bytearray(os.pread(self._file, size, start)), dtype=torch.uint8)
        return pixels.view(height, width, 3).permute(2, 0, 1)


class UncachedImages:
    """The same images decoded whenever they are asked for: for data too large to keep decoded."""

    def __init__(self, sources: Sequence[Any], read: Read) -> None:
        self._sources, self._read = sources, read

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, i: int) -> torch.Tensor:
        pixels = np.array(self._read(self._sources[i]))  # a copy: Pillow's is read-only
        return torch.from_numpy(pixels).permute(2, 0, 1)


Images = PixelCache | UncachedImages


class ShrinkShorterSide:
    """Decode a source and shrink it until its shorter side is `side` pixels, uint8 `(h, w, 3)`; never enlarge.

    A class, because workers started afresh must be able to unpickle it.
    """

    def __init__(self, side: int, interpolation: str, max_pixels: int | None = None) -> None:
        self.side, self.interpolation, self.max_pixels = side, interpolation, max_pixels

    def __call__(self, source: Any) -> Pixels:
        return with_retries(str(source), lambda: self._shrunk(source))

    def _shrunk(self, source: Any) -> Pixels:
        image = decode(source, max_pixels=self.max_pixels)
        width, height = image.size
        shorter = min(width, height)
        if shorter > self.side:
            new_size = (round(width * self.side / shorter), round(height * self.side / shorter))
            image = image.resize(new_size, INTERPOLATIONS[self.interpolation])
        return np.asarray(image)


class ContractPixels:
    """A source exactly as the device will see it, before normalization: the contract's pixels."""

    def __init__(self, contract: Preprocess) -> None:
        self.contract = contract

    def __call__(self, source: Any) -> Pixels:
        return self.contract.pixels(source)


class ContractResized:
    """A source as the contract resizes it, before its crop: what training sees where nothing is cropped at random."""

    def __init__(self, contract: Preprocess) -> None:
        self.contract = contract

    def __call__(self, source: Any) -> Pixels:
        return self.contract.resized(source)


def open_cache(sources: Sequence[Any], read: Read, folder: Path) -> Images:
    """What `fill_cache` kept, or the encoded images where it kept nothing."""
    return PixelCache(folder) if (folder / _INDEX).is_file() else UncachedImages(sources, read)


def fill_cache(
    sources: Sequence[Any],
    read: Read,
    folder: Path,
    listener: Listener,
    *,
    limit_bytes: int | None = None,
) -> None:
    """Decode `sources` into `folder`, unless they are there already.

    Where the pixels would take more than `limit_bytes`, by default a third of the free disk, nothing is kept and
    images are decoded whenever they are asked for. Raises `BadImage`, `ReadError`, `OSError`.
    """
    if (folder / _INDEX).is_file():
        return
    some = [np.asarray(read(source)).nbytes for source in sources[:: max(len(sources) // 50, 1)]]
    expected = int(np.mean(some) * len(sources))
    folder.mkdir(parents=True, exist_ok=True)
    if expected > (shutil.disk_usage(folder).free // 3 if limit_bytes is None else limit_bytes):
        return
    index = np.zeros((len(sources), 3), np.int64)
    position = 0
    with (folder / _PIXELS).open("wb") as file, ThreadPoolExecutor(cores_allowed()) as pool:
        ahead: deque[Future[Pixels]] = deque()
        rest = iter(sources)
        for i in range(len(sources)):
            while len(ahead) < 32 and (source := next(rest, None)) is not None:
                ahead.append(pool.submit(read, source))
            pixels = ahead.popleft().result()
            file.write(np.ascontiguousarray(pixels).tobytes())
            index[i] = (position, pixels.shape[0], pixels.shape[1])
            position += pixels.nbytes
            listener.progress("decoding", i + 1, len(sources))
        file.flush()
        os.fsync(file.fileno())
    scratch = folder / f".{_INDEX}"
    with scratch.open("wb") as file:
        np.save(file, index)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, folder / _INDEX)
