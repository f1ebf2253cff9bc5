"""The logits that an artifact gives for mistaken inputs of the golden images, computed here and now.

Computed, and not stored at export: bundles that are out there can be diagnosed, by an edge-tl that knows more mistakes
than the one that wrote them, on the very artifact that the pipeline runs; and a bundle does not grow by a hundred
pipelines' logits, which for a thousand classes are 13 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bundle import Bundle
from edge_tl.device.diagnosis.inputs import mistaken_inputs
from edge_tl.device.diagnosis.mistakes import Pipeline
from edge_tl.device.runtimes.open import Logits, Runtime

_AT_ONCE = 16


@dataclass
class Answering:
    """`runtime` on mistaken inputs of the images of `bundle`; the same input is run once."""

    bundle: Bundle
    runtime: Runtime
    known: dict[tuple[int, Pipeline], NDArray[np.float32]] = field(default_factory=dict)
    _rows: dict[bytes, NDArray[np.float32]] = field(default_factory=dict)

    def logits(self, pipelines: Sequence[Pipeline], images: Sequence[int]) -> dict[Pipeline, Logits]:
        """By pipeline, float32 `(len(images), classes)`. Raises `BadImage`."""
        for image in images:
            wanted = [each for each in pipelines if (image, each) not in self.known]
            if wanted:
                self.known.update(
                    zip(((image, each) for each in wanted), self._one(image, wanted), strict=True)
                )
        return {each: np.stack([self.known[image, each] for image in images]) for each in pipelines}

    def _one(self, image: int, pipelines: Sequence[Pipeline]) -> list[NDArray[np.float32]]:
        path = self.bundle.golden_images()[image]
        inputs = mistaken_inputs(path, self.bundle.preprocess, pipelines)
        keys = [blake2b(each.tobytes(), digest_size=16).digest() for each in inputs]
        new = {key: each for key, each in zip(keys, inputs, strict=True) if key not in self._rows}
        batch = list(new.values())
        for start in range(0, len(batch), _AT_ONCE):
            answers = self.runtime(np.stack(batch[start : start + _AT_ONCE]))
            self._rows.update(zip(list(new)[start : start + _AT_ONCE], answers, strict=True))
        return [self._rows[key] for key in keys]
