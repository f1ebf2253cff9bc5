"""Where INT8 candidates come from: made and judged in a process of their own, trained in this one. It must not choose
among them.
"""

from __future__ import annotations

import copy
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.int8 import qat
from edge_tl.host.int8.candidates import Candidate, CandidateBuilder, CandidateFiles, CandidateSettings
from edge_tl.host.int8.layers import Layers
from edge_tl.host.int8.qdq import Inputs
from edge_tl.host.isolated import IsolatedProcess


@dataclass
class CandidateSource:
    """`calibration` and `selection` are float32 `(n, 3, H, W)`, disjoint; `answers` the selection's labels `(n,)`;
    `training` the training images for QAT, uint8 `(3, H, W)` each. Files are made in `scratch`. With `apart` candidates
    are made there: OpenVINO ends its process over some."""

    model: nn.Module
    fp32_onnx: Path
    fp32_xml: Path
    scratch: Path
    contract: Preprocess
    labels: list[str]
    calibration: Inputs
    selection: Inputs
    answers: NDArray[np.int64]
    training: Callable[[], Images]
    seed: int
    flip: bool
    temperature: float = 1.0
    """What FP32's logits are divided by before their probabilities are believed; fitted on labelled images that FP32
    has not learned from."""
    listener: Listener = SILENT
    isolated: IsolatedProcess | None = None
    sensitivity: list[dict[str, Any]] = field(default_factory=list)
    _made: int = 0

    @cached_property
    def _spec(self) -> CandidateFiles:
        return CandidateFiles(
            self.fp32_onnx,
            self.fp32_xml,
            self.scratch,
            self.contract,
            tuple(self.labels),
            _stored(self.calibration, self.scratch / "calibrating.npy"),
            _stored(self.selection, self.scratch / "selecting.npy"),
            _stored(self.answers, self.scratch / "answers.npy"),
        )

    @cached_property
    def _maker(self) -> CandidateBuilder:
        return CandidateBuilder(self._spec, self.listener)

    @property
    def layers(self) -> Layers:
        """The FP32 graph's layers."""
        return self._maker.layers

    @cached_property
    def expected(self) -> Logits:
        """FP32's logits of the selection images."""
        return self._maker.expected

    def make(
        self,
        settings: CandidateSettings,
        *,
        start: Path | None = None,
        seconds: float = float("inf"),
        max_drop: float = 0.0,
    ) -> Candidate:
        """Build and judge one candidate; `start` is the Q/DQ graph that training goes on from, for at most `seconds`;
        `max_drop` in percentage points for NNCF's accuracy control. Raises what building raises, and `ProcessDied`."""
        began = perf_counter()
        self._made += 1
        trained = None
        if settings.epochs:
            assert start is not None
            trained = self._trained(settings, start, seconds)
        if self.isolated is None:
            self._maker.temperature = self.temperature
            judged = self._maker.make(self._made, settings, max_drop=max_drop, trained=trained)
        else:
            asked = self._spec, self.temperature, self._made, settings, max_drop, trained
            judged = self.isolated.call(_make, *asked, listener=self.listener)
        return replace(judged, seconds=perf_counter() - began)

    def rank(
        self, settings: CandidateSettings, images: int = 256, *, seconds: float = float("inf")
    ) -> list[dict[str, Any]]:
        """How much each layer alone in INT8 moves the answers, the worst first: `{layer, divergence, macs}`. Raises
        `TimeoutError` when that takes longer than `seconds`: a part of the layers is no ranking."""
        if not self.sensitivity and self.isolated is None:
            self.sensitivity = self._maker.rank(settings, images, seconds=seconds)
        elif not self.sensitivity:
            asked = self._spec, settings, images, seconds
            self.sensitivity = self.isolated.call(_rank, *asked, listener=self.listener)  # type: ignore[union-attr]
        return self.sensitivity

    def _trained(self, settings: CandidateSettings, start: Path, seconds: float) -> tuple[Path, float]:
        graph = self.scratch / f"candidate{self._made}.qdq.onnx"
        epochs = qat.distill(
            # A copy: wherever a training leaves its teacher, everything else is compared with the model.
            copy.deepcopy(self.model),
            self._maker.base(settings),
            start,
            graph,
            self.training(),
            self.contract,
            epochs=settings.epochs,
            seed=self.seed,
            flip=self.flip,
            seconds=seconds,
            listener=self.listener,
        )
        return graph, epochs


def _stored(array: NDArray[Any], path: Path) -> Path:
    """The file that holds `array`: the one that it maps, whole, or `path`, written now."""
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename:
        return Path(array.filename)
    np.save(path, array)
    return path


@lru_cache(maxsize=1)
def _opened(spec: CandidateFiles) -> CandidateBuilder:
    return CandidateBuilder(spec)


def _make(
    spec: CandidateFiles,
    temperature: float,
    number: int,
    settings: CandidateSettings,
    max_drop: float,
    trained: tuple[Path, float] | None,
    listener: Listener = SILENT,
) -> Candidate:
    maker = _opened(spec)
    maker.listener, maker.temperature = listener, temperature
    return maker.make(number, settings, max_drop=max_drop, trained=trained)


def _rank(
    spec: CandidateFiles,
    settings: CandidateSettings,
    images: int,
    seconds: float,
    listener: Listener = SILENT,
) -> list[dict[str, Any]]:
    maker = _opened(spec)
    maker.listener = listener
    return maker.rank(settings, images, seconds=seconds)
