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
from edge_tl.host.isolated import IsolatedProcess, ProcessDied

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
        self._order = list({sample.digest: sample for sample in wanted}.values())
        self._wanted = {sample.digest for sample in wanted}
        self._rows: dict[str, int] = {}

    def decode_in(self, process: IsolatedProcess) -> None:
        """Decode all that is wanted now, there. Raises `BadInput` as `batches`, and `ProcessDied`."""
        try:
            process.call(_write, self._path, self._contract, self._dataset, self._order)
            self._rows = {sample.digest: row for row, sample in enumerate(self._order)}
        except ProcessDied:  # what it has written is not whole, and more would be written behind it
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise
        except OSError:  # a full disk
            self.forget()

    def batches(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        """Float32 `(n, 3, H, W)` of `samples`, in their order, mapped where the file has them side by side. Raises
        `BadInput` when one of them, decoded now, is not what the run saw."""
        if all(sample.digest in self._rows for sample in samples):
            yield from self._kept(samples)
            return
        done = 0
        for batch in image_sets.batches(self._contract, self._dataset, samples):
            self._keep(samples[done : done + len(batch)], batch)
            done += len(batch)
            yield batch

    def stored(self, samples: Sequence[Sample]) -> tuple[Path, list[Sample]] | None:
        """The file, where it holds these samples and no others, and the order in which it does: float32
        `(n, 3, H, W)`, no header."""
        places = {self._rows.get(sample.digest): sample for sample in samples}
        if not samples or len(places) != len(samples) or set(places) != set(range(len(self._rows))):
            return None
        return self._path, [places[row] for row in range(len(samples))]

    def forget(self) -> None:
        """Remove the file; what is asked for is decoded from now on."""
        self._wanted, self._rows = set(), {}
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _kept(self, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
        if not samples:
            return
        # Written to by nobody; PyTorch takes no array that nobody may write to.
        kept = np.memmap(self._path, np.float32, "c", shape=(len(self._rows), *self._shape))
        size = image_sets.at_once(self._contract)
        rows = [self._rows[sample.digest] for sample in samples]
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            side_by_side = some == list(range(some[0], some[0] + len(some)))
            yield kept[some[0] : some[0] + len(some)] if side_by_side else kept[some]

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


def _write(path: Path, contract: Preprocess, dataset: Dataset, samples: Sequence[Sample]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for batch in image_sets.batches(contract, dataset, samples):
            file.write(batch.tobytes())
