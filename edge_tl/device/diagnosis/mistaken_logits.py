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
from edge_tl.device.diagnosis.inputs import BEFORE_RAW_PIXELS, each_mistaken_input, mistaken_raw_pixels
from edge_tl.device.diagnosis.mistakes import Pipeline
from edge_tl.device.raw_pixels import logits_of
from edge_tl.device.runtimes.open import Logits, Runtime

_AT_ONCE = 16  # inputs of 224 pixels, fewer of larger ones: 10 MB
_USUAL = 224 * 224


@dataclass
class Answering:
    """`runtime` on mistaken inputs of the images of `bundle`; the same input is run once. One that takes raw pixels
    makes no mistake of its own: `makes` says which are left to be made before it."""

    bundle: Bundle
    runtime: Runtime
    takes_pixels: bool = False
    known: dict[tuple[int, Pipeline], NDArray[np.float32]] = field(default_factory=dict)
    _rows: dict[bytes, NDArray[np.float32]] = field(default_factory=dict)

    def makes(self, pipeline: Pipeline) -> bool:
        """Whether the mistakes of `pipeline` can be made before the model."""
        return not self.takes_pixels or all(step.stage in BEFORE_RAW_PIXELS for step in pipeline)

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
        path, contract = self.bundle.golden_images()[image], self.bundle.preprocess
        if self.takes_pixels:
            whole = mistaken_raw_pixels(path, contract, pipelines)
            return [logits_of(self.runtime, [pixels])[0] for pixels in whole]
        height, width = contract.input_size
        at_once = max(1, _AT_ONCE * _USUAL // max(height * width, _USUAL))
        keys: list[bytes] = []
        waiting: dict[bytes, NDArray[np.float32]] = {}
        for one in each_mistaken_input(path, contract, pipelines):
            keys.append(blake2b(one.tobytes(), digest_size=16).digest())
            if keys[-1] not in self._rows:
                waiting[keys[-1]] = one
            if len(waiting) == at_once:
                self._run(waiting)
        if waiting:
            self._run(waiting)
        return [self._rows[key] for key in keys]

    def _run(self, waiting: dict[bytes, NDArray[np.float32]]) -> None:
        self._rows.update(zip(waiting, self.runtime(np.stack(list(waiting.values()))), strict=True))
        waiting.clear()
