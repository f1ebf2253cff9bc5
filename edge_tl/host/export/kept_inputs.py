"""Model inputs of images that an export asks for more than once: decoded the first time, then read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.export import image_sets
from edge_tl.host.images.dataset import Dataset, Sample

MOST_BYTES = 500_000_000  # of inputs in a file


def fitting(contract: Preprocess, samples: Sequence[Sample], seed: int) -> list[Sample]:
    """As many of `samples` as a file should hold, at least one, the classes in proportion."""
    height, width = contract.input_size
    most = max(1, MOST_BYTES // (12 * height * width))
    return image_sets.in_proportion(samples, seed)[:most]


class KeptInputs:
    """Of images of `dataset` by `contract`; those `wanted` are kept by their content, in the file `path`."""

    def __init__(
        self, path: Path, contract: Preprocess, dataset: Dataset, wanted: Sequence[Sample] = ()
    ) -> None:
        self._path, self._contract, self._dataset = path, contract, dataset
        self._shape = (3, *contract.input_size)
        self._wanted = {sample.digest for sample in wanted}
        self._rows: dict[str, int] = {}

    def batches(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        """Float32 `(n, 3, H, W)` of `samples`, in their order. Raises `BadInput` when one of them, decoded now, is not
        what the run saw."""
        if all(sample.digest in self._rows for sample in samples):
            yield from self._kept(samples)
            return
        done = 0
        for batch in image_sets.batches(self._contract, self._dataset, samples):
            self._keep(samples[done : done + len(batch)], batch)
            done += len(batch)
            yield batch

    def forget(self) -> None:
        """Remove the file; what is asked for is decoded from now on."""
        self._wanted, self._rows = set(), {}
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _kept(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        if not samples:
            return
        kept = np.memmap(self._path, np.float32, "r", shape=(len(self._rows), *self._shape))
        size = image_sets.at_once(self._contract)
        rows = [self._rows[sample.digest] for sample in samples]
        for start in range(0, len(rows), size):
            yield kept[rows[start : start + size]]

    def _keep(self, samples: Sequence[Sample], inputs: NDArray[np.float32]) -> None:
        new = {
            sample.digest: row
            for sample, row in zip(samples, inputs, strict=True)
            if sample.digest in self._wanted and sample.digest not in self._rows
        }
        if not new:
            return
        try:
            self._path.parent.mkdir(exist_ok=True)
            # Written and not mapped: a disk that is full is then an error and no signal.
            with self._path.open("ab") as file:
                for digest, row in new.items():
                    file.write(row.tobytes())
                    self._rows[digest] = len(self._rows)
        except OSError:  # what needs no room of its own goes on without
            self.forget()
