"""Where INT8 candidates come from: trained in this process, made and evaluated in a process of their own. Chooses
none.
"""

from __future__ import annotations

import copy
import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.model_file import Inputs
from edge_tl.host.int8.candidate_builder import CandidateBuilder, CandidateFiles, CandidateJob, TrainedGraph
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.capped import CappedProcesses, capped_drop
from edge_tl.host.int8.layers import Layers
from edge_tl.host.int8.records import CappedDrop, LayerSensitivity
from edge_tl.host.int8.sensitivity import rank_layers
from edge_tl.host.int8.settings import CandidateSettings
from edge_tl.host.isolated import IsolatedProcess

if (
    TYPE_CHECKING
):  # the process that makes candidates imports this module, and starts without PyTorch's seconds
    from torch import nn

    from edge_tl.host.images.pixel_cache import Images


@dataclass
class CandidateSource:
    """`calibration` and `selection` are float32 `(n, 3, H, W)`, disjoint; `answers` the selection's labels `(n,)`;
    `more` writes further selection images and gives them all, where there are more than these; `training` gives the
    training images, uint8 `(3, H, W)` each. Files are made in `scratch`. With `isolated`,
    candidates are made in that process: OpenVINO ends its process over some."""

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
    symmetric: bool = False
    """Whether the candidates for ONNX Runtime have symmetric activations, see `qdq.QdqOptions`."""
    capped: CappedProcesses | None = None
    """Where OpenVINO's candidates are tried under lesser instruction sets; nowhere when None."""
    more: Callable[[], tuple[Inputs, NDArray[np.int64]]] | None = None
    sensitivity: list[LayerSensitivity] = field(default_factory=list)
    _made: int = 0

    @cached_property
    def _files(self) -> CandidateFiles:
        return CandidateFiles(
            self.fp32_onnx,
            self.fp32_xml,
            self.scratch,
            self.contract,
            tuple(self.labels),
            _stored(self.calibration, self.scratch / "calibrating.npy"),
            _stored(self.selection, self.scratch / f"selecting{len(self.selection)}.npy"),
            _stored(self.answers, self.scratch / "answers.npy"),
        )

    @cached_property
    def _builder(self) -> CandidateBuilder:
        return CandidateBuilder(self._files, self.listener)

    @property
    def layers(self) -> Layers:
        """The FP32 graph's layers."""
        return self._builder.layers

    @cached_property
    def expected(self) -> Logits:
        """FP32's logits of the selection images."""
        return self._builder.expected

    def make(
        self,
        settings: CandidateSettings,
        *,
        start: Path | None = None,
        seconds: float = math.inf,
        max_drop: float = 0.0,
    ) -> Candidate:
        """Build and evaluate one candidate; `start` is the Q/DQ graph that training goes on from, for at most
        `seconds`; `max_drop` in percentage points for NNCF's accuracy control. Raises what building raises, and
        `ProcessDied`."""
        began = perf_counter()
        self._made += 1
        trained = None
        if settings.epochs:
            assert start is not None
            trained = self._trained(settings, start, seconds)
        job = CandidateJob(self._made, settings, max_drop, self.temperature, trained)
        if self.isolated is None:
            candidate = self._builder.make(job)
        else:
            candidate = self.isolated.call(_make, self._files, job, listener=self.listener)
        return replace(candidate, record=replace(candidate.record, seconds=perf_counter() - began))

    def use_all(self) -> None:
        """Compare candidates on all selection images from now on."""
        assert self.more is not None
        self.selection, self.answers = self.more()
        self.more = None
        for computed in ("_files", "_builder"):
            self.__dict__.pop(computed, None)

    def under_caps(self, candidate: Candidate, allowed: float) -> Candidate:
        """The candidate with what it loses under lesser instruction sets: nothing is measured where no sum can be cut,
        and none after the first that does not keep the budget of `allowed` percentage points. ONNX Runtime cannot be
        capped, and its files are right by their session option."""
        record = candidate.record
        if self.capped is None or candidate.settings.runtime != "openvino" or record.may_saturate == ():
            return candidate
        images, rows = self._files.selection, []
        for cap in self.capped.caps:
            try:
                logits = self.capped.logits(cap, candidate.path, images, self.listener)
                row = capped_drop(cap, logits, self.answers, self.expected, self.temperature)
            except Exception as error:  # runtimes raise anything; what did not run is not proven
                row = CappedDrop(
                    cap, fault=str(error).strip().partition("\n")[0][:200] or type(error).__name__
                )
            rows.append(row)
            if not row.keeps(allowed):
                break
        return replace(candidate, record=replace(record, under_caps=tuple(rows)))

    def rank(
        self, settings: CandidateSettings, images: int = 256, *, seconds: float = math.inf
    ) -> list[LayerSensitivity]:
        """The layers by sensitivity, measured once, see `rank_layers`. Raises `TimeoutError`, and `ProcessDied`."""
        if not self.sensitivity and self.isolated is None:
            self.sensitivity = rank_layers(self._builder, settings, images, seconds=seconds)
        elif not self.sensitivity:
            asked = self._files, settings, images, seconds
            self.sensitivity = self.isolated.call(_rank, *asked, listener=self.listener)  # type: ignore[union-attr]
        return self.sensitivity

    def _trained(self, settings: CandidateSettings, start: Path, seconds: float) -> TrainedGraph:
        from edge_tl.host.int8 import qat

        graph = self.scratch / f"candidate{self._made}.qdq.onnx"
        job = qat.DistillationJob(
            # A copy: wherever training leaves its teacher, everything else is compared with the model.
            copy.deepcopy(self.model),
            self.training(),
            self.contract,
            epochs=settings.epochs,
            seed=self.seed,
            flip=self.flip,
        )
        base = self._builder.base_graph(settings)
        epochs = qat.distill(job, base, start, graph, seconds=seconds, listener=self.listener)
        return TrainedGraph(graph, epochs)


def _stored(array: NDArray[Any], path: Path) -> Path:
    """The file that holds `array`: the one that it maps, whole, or `path`, written now."""
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename:
        return Path(array.filename)
    np.save(path, array)
    return path


@lru_cache(maxsize=1)
def _opened(files: CandidateFiles) -> CandidateBuilder:
    return CandidateBuilder(files)


def _make(files: CandidateFiles, job: CandidateJob, listener: Listener = SILENT) -> Candidate:
    builder = _opened(files)
    builder.listener = listener
    return builder.make(job)


def _rank(
    files: CandidateFiles,
    settings: CandidateSettings,
    images: int,
    seconds: float,
    listener: Listener = SILENT,
) -> list[LayerSensitivity]:
    builder = _opened(files)
    builder.listener = listener
    return rank_layers(builder, settings, images, seconds=seconds)
