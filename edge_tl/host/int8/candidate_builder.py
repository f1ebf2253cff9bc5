"""How one INT8 candidate is made from files and evaluated. Chooses none and trains none.

A `CandidateBuilder` needs no PyTorch model and works in another process, which a candidate may take down with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.fp32 import save_openvino
from edge_tl.host.convert.model_file import Inputs, batched_logits
from edge_tl.host.int8 import nncf_ptq, qdq, saturation
from edge_tl.host.int8.candidate_evaluation import SelectionSet, evaluate_candidate
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.equalize import equalize, smooth
from edge_tl.host.int8.layers import Layers
from edge_tl.host.int8.ranges import Histogram, Range, histograms
from edge_tl.host.int8.settings import CONTROLLED, EQUALIZED, QDQ, SMOOTHED, CandidateSettings

_SMOOTHED_BY = 100  # calibration images
_CONTROLLED_BY = 300  # selection images: as many as NNCF can rank layers with in reasonable time


@dataclass(frozen=True)
class CandidateFiles:
    """All that candidates are made of, by file: `calibration` and `selection` are float32 `(n, 3, H, W)`, disjoint,
    `answers` the selection's labels `(n,)`, as .npy. Files are made in `scratch`, and those that all candidates share
    are made once: whichever process comes first leaves them to the others."""

    fp32_onnx: Path
    fp32_xml: Path
    scratch: Path
    contract: Preprocess
    labels: tuple[str, ...]
    calibration: Path
    selection: Path
    answers: Path


@dataclass(frozen=True)
class TrainedGraph:
    """The Q/DQ graph that training wrote, and its epochs."""

    path: Path
    epochs: float


@dataclass(frozen=True)
class CandidateJob:
    """Candidate `number`: `max_drop` in percentage points is for NNCF's accuracy control; `temperature` divides FP32's
    logits before their probabilities are believed."""

    number: int
    settings: CandidateSettings
    max_drop: float = 0.0
    temperature: float = 1.0
    trained: TrainedGraph | None = None


class CandidateBuilder:
    """Makes and evaluates candidates; what they share is computed once."""

    def __init__(self, files: CandidateFiles, listener: Listener = SILENT) -> None:
        self.files, self.listener = files, listener
        self.labels = list(files.labels)
        self.calibration: Inputs = np.load(files.calibration, mmap_mode="r")
        self.selection: Inputs = np.load(files.selection, mmap_mode="r")
        self.answers: NDArray[np.int64] = np.load(files.answers)
        self._histograms: dict[tuple[int, str, bool], dict[str, Histogram]] = {}

    @cached_property
    def prepared(self) -> Path:
        """The FP32 graph as the quantizer wants it."""
        return self._shared("prepared.onnx", lambda path: qdq.prepare_graph(self.files.fp32_onnx, path))

    def base_graph(self, settings: CandidateSettings) -> Path:
        """The FP32 graph that a candidate is made from."""
        if not settings.rescaled:
            return self.prepared

        def rescale(path: Path) -> None:
            if settings.rescaled == EQUALIZED:
                equalize(self.prepared, path)
            else:
                smooth(self.prepared, path, self.calibration[:_SMOOTHED_BY])

        return self._shared(f"{settings.rescaled}.onnx", rescale)

    @cached_property
    def layers(self) -> Layers:
        """The FP32 graph's layers."""
        return Layers(self.prepared)

    @cached_property
    def expected(self) -> Logits:
        """FP32's logits of the selection images."""
        return self._fp32_logits(self.files.selection.stem, self.selection)

    def ranges(self, settings: CandidateSettings) -> dict[str, Range]:
        """Activation ranges from the first `settings.images` calibration images."""
        count = min(settings.images, len(self.calibration))
        key = count, settings.rescaled, settings.symmetric
        if key not in self._histograms:
            images = self.calibration[:count]
            self._histograms[key] = histograms(
                str(self.base_graph(settings)), images, self.listener, symmetric=settings.symmetric
            )
        return {name: seen.range(settings.estimator) for name, seen in self._histograms[key].items()}

    def make(self, job: CandidateJob) -> Candidate:
        """Build and evaluate a candidate. Raises what quantizers and runtimes raise."""
        began, settings = perf_counter(), job.settings
        out = self.files.scratch / f"candidate{job.number}{'.onnx' if settings.runtime == 'onnx' else '.xml'}"
        graph = self.files.scratch / f"candidate{job.number}.qdq.onnx"
        known = settings.method == QDQ  # which layers are quantized: later rungs build on such graphs alone
        if not known:
            self._quantize_with_nncf(job, graph, out)
        elif job.trained:
            graph = job.trained.path
            self._write_corrected(graph, out, settings)
        else:
            options = qdq.QdqOptions(
                settings.storage,
                excluded=settings.excluded,
                matrix_only=settings.matrix_only,
                fused=settings.runtime == "openvino" or settings.symmetric,
                symmetric=settings.symmetric,
            )
            qdq.quantize(self.base_graph(settings), graph, self.ranges(settings), options)
            self._write_corrected(graph, out, settings)
        record = evaluate_candidate(
            out,
            SelectionSet(self.selection, self.answers, self.expected, job.temperature),
            settings=settings.record(job.trained.epochs if job.trained else 0.0),
            float_macs=self.layers.share(settings.excluded) if known else None,
            began=began,
        )
        if known:
            cut = saturation.saturating_layers(onnx.load(str(graph)).graph)
            record = replace(record, may_saturate=tuple(cut))
        return Candidate(settings, out, graph if known else None, record)

    def write(self, graph: Path, out: Path, storage: str) -> None:
        """The Q/DQ graph as the artifact `out`, its labels and preprocessing inside."""
        qdq.write_artifact(graph, out, storage, self._ir_version, self.files.contract, self.labels)

    def _quantize_with_nncf(self, job: CandidateJob, graph: Path, out: Path) -> None:
        settings, some = job.settings, self.calibration[: job.settings.images]
        if settings.runtime == "onnx":
            nncf_ptq.quantize_onnx(self.prepared, graph, some, settings.storage)
            self._write_corrected(graph, out, settings)
            graph.unlink()
            return
        if settings.method == CONTROLLED:
            selection, answers = self.selection[:_CONTROLLED_BY], self.answers[:_CONTROLLED_BY]
            model = nncf_ptq.control_accuracy(
                self.files.fp32_xml,
                self.calibration,
                selection,
                answers,
                max_drop=job.max_drop,
                storage=settings.storage,
            )
        else:
            smoothed = settings.rescaled == SMOOTHED
            model = nncf_ptq.quantize_openvino(self.files.fp32_xml, some, settings.storage, smoothed=smoothed)
        save_openvino(model, out, self.files.contract, self.labels)

    def _write_corrected(self, graph: Path, out: Path, settings: CandidateSettings) -> None:
        """As `write`, the logits corrected by their mean shift on the calibration images, measured with `out`."""
        self.write(graph, out, settings.storage)
        logits = batched_logits(out, self.calibration)
        shift: NDArray[np.float64] = np.mean(self._expected_of_calibration - logits, axis=0, dtype=np.float64)
        qdq.correct_logits(graph, shift)
        self.write(graph, out, settings.storage)

    @cached_property
    def _ir_version(self) -> int:
        return int(onnx.load(str(self.files.fp32_onnx), load_external_data=False).ir_version)

    @cached_property
    def _expected_of_calibration(self) -> Logits:
        return self._fp32_logits("calibration", self.calibration)

    def _fp32_logits(self, name: str, images: Inputs) -> Logits:
        def infer(path: Path) -> None:
            np.save(path, batched_logits(self.files.fp32_onnx, images))

        logits: Logits = np.load(self._shared(f"{name}.logits.npy", infer))
        return logits

    def _shared(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file `name` in `scratch`, whole: a process that ends while it writes leaves none of that name."""
        path = self.files.scratch / name
        if not path.is_file():
            part = self.files.scratch / f"part.{name}"
            make(part)
            part.replace(path)
        return path
