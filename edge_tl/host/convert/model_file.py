"""What is done with any model file, ONNX or OpenVINO IR: its logits on many images, its size, and silence while a
library writes it. Knows no quantizer.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.runtimes.families import files_of
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.many_images import open_many

Inputs = NDArray[np.float32]
"""Model inputs, `(n, 3, H, W)`; may be mapped from a file."""


def batched_logits(path: Path, inputs: Inputs) -> Logits:
    """`(n, classes)` of the model at `path` on `inputs`, each image a call of its own."""
    return open_many(path)(inputs)


def size_mb(path: Path) -> float:
    """Of an artifact, all its files, in units of 10^6 bytes."""
    return sum(file.stat().st_size for file in files_of(path)) / 1e6


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what converters and quantizers print on stdout, which belongs to `--json`, and log below errors."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
