"""Model inputs of images that an export asks for more than once: decoded the first time, then read from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.export import image_sets
from edge_tl.host.images.dataset import Dataset, Sample

MOST_BYTES = 500_000_000  # of inputs that are kept; images beyond are decoded each time


class KeptInputs:
    """Of images of `dataset` by `contract`, kept in the file `path` by their content: at most `MOST_BYTES`."""

    def __init__(self, path: Path, contract: Preprocess, dataset: Dataset) -> None:
        self._path, self._contract, self._dataset = path, contract, dataset
        self._shape = (3, *contract.input_size)
        self._most = MOST_BYTES // (4 * math.prod(self._shape))
        self._rows: dict[str, int] = {}

    def batches(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        """Float32 `(n, 3, H, W)` of `samples`, in their order. Raises `BadInput` when one of them, decoded now, is not
        what the run saw, and `OSError` when the disk is full."""
        if all(sample.digest in self._rows for sample in samples):
            yield from self._kept(samples)
            return
        done = 0
        for batch in image_sets.batches(self._contract, self._dataset, samples):
            self._keep(samples[done : done + len(batch)], batch)
            done += len(batch)
            yield batch

    def _kept(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        if not samples:
            return
        kept = np.memmap(self._path, np.float32, "r", shape=(len(self._rows), *self._shape))
        size = image_sets.at_once(self._contract)
        rows = [self._rows[sample.digest] for sample in samples]
        for start in range(0, len(rows), size):
            yield kept[rows[start : start + size]]

    def _keep(self, samples: Sequence[Sample], inputs: NDArray[np.float32]) -> None:
        # Written and not mapped: a disk that is full is then an error and no signal.
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("ab") as file:
            for sample, row in zip(samples, inputs, strict=True):
                if sample.digest not in self._rows and len(self._rows) < self._most:
                    file.write(row.tobytes())
                    self._rows[sample.digest] = len(self._rows)
