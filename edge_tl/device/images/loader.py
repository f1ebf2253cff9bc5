"""Files of images as batches of model inputs, decoded ahead on the allowed cores.

Knows no label and no model; a file that cannot be decoded is named, never half-read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadImage
from edge_tl.device.images.reading import EncodedImage
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess


@dataclass(frozen=True)
class Batch:
    """`inputs` float32 `(n, 3, H, W)` for the `n` positions in `indices`; `bad` maps a position to its fault, `remarks`
    one that was read to what had to be assumed. `not_of_bytes` are the bad ones whose bytes are not at fault."""

    indices: list[int]
    inputs: NDArray[np.float32]
    bad: dict[int, str]
    remarks: dict[int, str] = field(default_factory=dict)
    not_of_bytes: set[int] = field(default_factory=set)


def load_batches(
    contract: Preprocess, sources: Sequence[Path | EncodedImage], *, size: int = 16
) -> Iterator[Batch]:
    """Batches in the order of `sources`. Pillow releases the interpreter lock while it decodes and resizes, so
    threads overlap decoding with inference; a few batches are kept ahead, so memory stays bounded. Raises `ReadError`
    when a source cannot be read now."""
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
        finally:  # an interrupted caller does not wait for what was queued
            for future in ahead:
                future.cancel()


def _load(contract: Preprocess, sources: Sequence[Path | EncodedImage], positions: range) -> Batch:
    shape = (0, 3, *contract.input_size)
    batch = Batch([], np.empty(shape, np.float32), {})
    inputs = []
    for position in positions:
        try:
            framed = contract.framed(sources[position])
        except BadImage as error:
            batch.bad[position] = error.reason
            if not error.of_bytes:
                batch.not_of_bytes.add(position)
            continue
        inputs.append(contract.normalize(framed.pixels))
        batch.indices.append(position)
        if framed.remark:
            batch.remarks[position] = framed.remark
    return replace(batch, inputs=np.stack(inputs)) if inputs else batch
