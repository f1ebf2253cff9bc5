"""The model behind the service: images by a thread for each core, in the order of their coming. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.machine import cores_allowed
from edge_tl.device.model import Model
from edge_tl.device.records.prediction import FailedImage, Prediction, PredictResult
from edge_tl.device.runtimes.open import Logits


class AnswerPool:
    """A context manager: it ends the threads, after what they do."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._run = model.parallel(streams=True)
        # Where the device likes one call at a time, threads still decode beside it.
        self._threads = ThreadPoolExecutor(cores_allowed() + 1, thread_name_prefix="serve")

    async def images(self, named: Sequence[tuple[str, bytes]], top: int) -> PredictResult:
        """What `predict --json` says of encoded images and their names. Raises `EdgeTLError` for a model whose answers
        are no numbers."""
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(self._threads, self._one, name, image, top) for name, image in named]
        try:
            found = await asyncio.gather(*work)
        except BaseException:  # nobody waits any more
            for each in work:
                each.cancel()
            raise
        tuned = self.model.tuned
        return PredictResult(
            artifact=self.model.artifact.id,
            device=self.model.runtime.device,
            tuned=tuned is not None,
            threads=tuned.threads if tuned else None,
            results=tuple(one for one in found if one.failure is None),
            failed=tuple(
                FailedImage(one.image or "", one.failure) for one in found if one.failure is not None
            ),
        )

    async def logits(self, inputs: NDArray[np.float32]) -> Logits:
        """Of model inputs `(n, 3, H, W)`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._tensor, inputs)

    def _one(self, name: str, image: bytes, top: int) -> Prediction:
        return replace(self.model.answer(image, top=top, run=self._run), image=name)

    def _tensor(self, inputs: NDArray[np.float32]) -> Logits:
        if self._run is None:
            return self.model.runtime(inputs)
        return np.concatenate([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def __enter__(self) -> AnswerPool:
        return self

    def __exit__(self, *failure: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
