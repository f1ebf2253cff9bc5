"""Artifacts that preprocess themselves: what goes in, and their answers in the terms of all others.

Such a model takes the decoded, upright image, uint8 `(1, H, W, 3)`, and gives probabilities. Their logarithms are
logits: a softmax gives the probabilities back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import BadImage
from edge_tl.device.images.decode import Decoded, ImageSource, examine
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.device.stages import read_stages, stage_record

LEAST = 1e-30
"""A probability below it counts as this: float32 has none much smaller, and 0 has no logarithm."""


def raw_pixels(contract: Preprocess, source: ImageSource | Decoded) -> NDArray[np.uint8]:
    """An image decoded and upright, `(1, H, W, 3)`. Raises `BadImage` as `contract.pixels` does, `ReadError`."""
    decoded = source if isinstance(source, Decoded) else examine(source, max_pixels=contract.max_pixels)
    contract.input_box(decoded.image.size)  # refuses a sliver that resizing would make huge
    return np.asarray(decoded.image)[None]


def log_probabilities(answer: NDArray[Any]) -> Logits:
    """Probabilities `(n, classes)` as logits, float32."""
    # NaN stays NaN, which the gates and `predict` look for.
    logits: Logits = np.log(np.maximum(answer, np.float32(LEAST))).astype(np.float32)
    return logits


def logits_of(run: Callable[[Any], Logits], images: Sequence[NDArray[np.uint8]]) -> Logits:
    """Of each image, `(1, H, W, 3)`, a call of its own: `(n, classes)`."""
    return np.concatenate([log_probabilities(run(image)) for image in images])


class PreprocessedOutside:
    """An artifact on tensors behind the contract, as Pillow and numpy compute it: raw pixels in, logits out. What an
    artifact that preprocesses itself is timed against."""

    def __init__(self, runtime: Runtime, contract: Preprocess) -> None:
        self._runtime, self._contract = runtime, contract
        self.name, self.version = runtime.name, runtime.version
        self.device, self.threads, self.precision = runtime.device, runtime.threads, runtime.precision

    def __call__(self, inputs: NDArray[Any]) -> Logits:
        """Of one image, uint8 `(1, H, W, 3)`."""
        return self._runtime(self._contract.apply(Image.fromarray(inputs[0]))[None])


def golden_raw_pixels(bundle: Bundle, place: int) -> NDArray[np.uint8] | None:
    """What the golden image at `place` decodes to; None where that is not what it was at export, which is no model's
    fault, and which the pixels gate says."""
    stored = read_stages(bundle.root, bundle.record.golden)
    path: Path = bundle.golden_images()[place]
    try:
        pixels = raw_pixels(bundle.preprocess, path)
    except BadImage:
        return None
    if stored is not None and stage_record(pixels[0]) != stored.record.images[place].orient:
        return None
    return pixels
