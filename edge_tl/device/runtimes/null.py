"""A runtime that computes nothing: what the harness itself costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.runtimes.base import Logits


class NullRuntime:
    """Answers zeros at once."""

    name, version, device, precision = "null", "0", "none", "none"

    def __init__(self, classes: int) -> None:
        self.threads, self._classes = 0, classes

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        return np.zeros((len(inputs), self._classes), np.float32)
