"""INT8 candidates: what tells them apart, how one is made from files and judged. It must not choose or train.

A `CandidateBuilder` needs no PyTorch model and can be handed to another process, which a candidate may take with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.stats import binomtest

from edge_tl.device import metrics
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits, open_runtime
from edge_tl.host.int8 import nncf_ptq, qdq
from edge_tl.host.int8.equalize import equalize, smooth
from edge_tl.host.int8.layers import Layers
from edge_tl.host.int8.qdq import Inputs
from edge_tl.host.int8.ranges import Histogram, histograms

QDQ, NNCF, CONTROLLED = "qdq", "nncf", "nncf accuracy control"
EQUALIZED, SMOOTHED = "equalized", "smoothed"
_SMOOTHED_BY = 100  # calibration images
_CONTROLLED_BY = 300  # selection images: as many as NNCF can rank layers with in reasonable time
_METHODS = {  # what is recorded: the method, and its bias correction
    QDQ: ("Q/DQ", "logits"),
    NNCF: ("NNCF post-training, MIXED", "full"),
    CONTROLLED: ("NNCF accuracy control, MIXED", "fast"),
}


@dataclass(frozen=True)
class CandidateSettings:
    """Everything that tells one candidate from another. `matrix_only` leaves additions, multiplications and pooling
    between the layers in float; `rescaled` names how channels
    were rescaled before; `excluded` names layers left in float; `epochs` are those of training in INT8."""

    runtime: str
    method: str
    estimator: str
    images: int
    storage: str
    matrix_only: bool
    excluded: frozenset[str] = frozenset()
    rescaled: str = ""
    epochs: int = 0

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        method, correction = _METHODS[self.method]
        if self.method == NNCF and self.runtime == "onnx":
            correction = "fast, logits"
        return {
            "method": method,
            "ranges": self.estimator,
            "calibration_images": self.images,
            "weights": f"per channel, {self.storage}",
            "elementwise": "float" if self.matrix_only else "uint8",
            "bias_correction": correction,
            "rescaled": self.rescaled or None,
            "in_float": sorted(self.excluded),
            "trained_epochs": self.epochs,
        }


@dataclass(frozen=True)
class Candidate:
    """A candidate's file and what it does on the selection images. `expected_drop_pp` is what FP32's own probabilities,
    calibrated, say of the answers that changed, see `compare.expected_drop`. `divergence` is the mean Kullback-Leibler
    divergence of its answers from FP32's in nats: on the same images both tell candidates apart that accuracy
    cannot."""

    settings: CandidateSettings
    path: Path
    qdq: Path | None
    accuracy: float
    drop_pp: float
    drop_ci_pp: list[float]
    expected_drop_pp: float
    agreement: float
    divergence: float
    latency_ms: float
    size_mb: float
    float_macs: float | None
    """None where NNCF chose the layers and does not say."""
    seconds: float
    accuracy_ci: list[float] = field(default_factory=list)
    trained_epochs: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For the record: figures and settings; the epochs of training are those that the time allowed."""
        figures = "accuracy accuracy_ci drop_pp drop_ci_pp expected_drop_pp agreement divergence"
        keys = f"{figures} latency_ms size_mb float_macs seconds".split()
        settings = self.settings.to_json() | {"trained_epochs": self.trained_epochs}
        return {key: getattr(self, key) for key in keys} | {"settings": settings}


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


class CandidateBuilder:
    """Makes and judges candidates; what they share is computed once."""

    def __init__(self, spec: CandidateFiles, listener: Listener = SILENT) -> None:
        self.spec, self.listener = spec, listener
        self.scratch, self.contract, self.labels = spec.scratch, spec.contract, list(spec.labels)
        self.calibration: Inputs = np.load(spec.calibration, mmap_mode="r")
        self.selection: Inputs = np.load(spec.selection, mmap_mode="r")
        self.answers: NDArray[np.int64] = np.load(spec.answers)
        self.temperature = 1.0
        """What FP32's logits are divided by before their probabilities are believed; see `CandidateSource`."""
        self._histograms: dict[tuple[int, str], dict[str, Histogram]] = {}

    @cached_property
    def prepared(self) -> Path:
        """The FP32 graph as the quantizer wants it."""
        return self._shared("prepared.onnx", lambda path: qdq.prepare_graph(self.spec.fp32_onnx, path))

    def base(self, settings: CandidateSettings) -> Path:
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
        return self._of_fp32("selection", self.selection)

    @cached_property
    def _expected_of_calibration(self) -> Logits:
        return self._of_fp32("calibration", self.calibration)

    def _of_fp32(self, name: str, images: Inputs) -> Logits:
        def infer(path: Path) -> None:
            np.save(path, qdq.logits(self.spec.fp32_onnx, images))

        logits: Logits = np.load(self._shared(f"{name}.logits.npy", infer))
        return logits

    def _shared(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file `name` in `scratch`, whole: a process that dies at work leaves none that would pass for it."""
        path = self.scratch / name
        if not path.is_file():
            part = self.scratch / f"part.{name}"
            make(part)
            part.replace(path)
        return path

    def ranges(self, settings: CandidateSettings) -> dict[str, tuple[float, float]]:
        """Activation ranges from the first `settings.images` calibration images."""
        count = min(settings.images, len(self.calibration))
        key = count, settings.rescaled
        if key not in self._histograms:
            images = self.calibration[:count]
            self._histograms[key] = histograms(str(self.base(settings)), images, self.listener)
        return {name: seen.range(settings.estimator) for name, seen in self._histograms[key].items()}

    def make(
        self,
        number: int,
        settings: CandidateSettings,
        *,
        max_drop: float = 0.0,
        trained: tuple[Path, float] | None = None,
    ) -> Candidate:
        """Build and judge candidate `number`; `max_drop` in percentage points for NNCF's accuracy control; `trained`
        gives the Q/DQ graph that training wrote, and its epochs."""
        began = perf_counter()
        suffix = ".onnx" if settings.runtime == "onnx" else ".xml"
        out = self.scratch / f"candidate{number}{suffix}"
        graph: Path | None = self.scratch / f"candidate{number}.qdq.onnx"
        if settings.method != QDQ:
            assert graph is not None
            self._with_nncf(settings, out, graph, max_drop)
            graph = None  # later rungs build on what they know every layer of
        elif trained:
            graph = trained[0]
            self._finish(graph, out, settings)
        else:
            assert graph is not None
            qdq.quantize(
                self.base(settings),
                graph,
                self.ranges(settings),
                settings.storage,
                excluded=settings.excluded,
                matrix_only=settings.matrix_only,
                fused=settings.runtime == "openvino",
            )
            self._finish(graph, out, settings)
        return self._judge(settings, out, graph, began, trained[1] if trained else 0.0)

    def _with_nncf(self, settings: CandidateSettings, out: Path, graph: Path, max_drop: float) -> None:
        some = self.calibration[: settings.images]
        sets = self.contract, self.labels
        if settings.method == CONTROLLED:
            few = slice(0, _CONTROLLED_BY)
            judged = self.selection[few], self.answers[few]
            nncf_ptq.control_accuracy(
                self.spec.fp32_xml, out, self.calibration, *judged, max_drop, *sets, settings.storage
            )
        elif settings.runtime == "onnx":
            nncf_ptq.quantize_onnx(self.prepared, graph, some, settings.storage)
            self._finish(graph, out, settings)
            graph.unlink()
        else:
            smoothed = settings.rescaled == SMOOTHED
            nncf_ptq.quantize_openvino(
                self.spec.fp32_xml, out, some, *sets, settings.storage, smoothed=smoothed
            )

    def _finish(self, graph: Path, out: Path, settings: CandidateSettings) -> None:
        version = onnx.load(str(self.spec.fp32_onnx), load_external_data=False).ir_version
        qdq.write_artifact(graph, out, settings.storage, version, self.contract, self.labels)
        own = qdq.logits(out, self.calibration)
        shift: NDArray[np.float64] = np.mean(self._expected_of_calibration - own, axis=0, dtype=np.float64)
        qdq.correct_logits(graph, shift)
        qdq.write_artifact(graph, out, settings.storage, version, self.contract, self.labels)

    def _judge(
        self, settings: CandidateSettings, out: Path, graph: Path | None, began: float, trained: float
    ) -> Candidate:
        own = qdq.logits(out, self.selection)
        expected, got = metrics.top1(self.expected), metrics.top1(own)
        drop, right = metrics.paired_drop(self.answers, expected, got), int(np.sum(got == self.answers))
        return Candidate(
            settings,
            out,
            graph,
            accuracy=metrics.accuracy(self.answers, got),
            drop_pp=drop["drop_pp"],
            drop_ci_pp=drop["drop_ci_pp"],
            expected_drop_pp=expected_drop(self.expected, self.temperature, got),
            agreement=metrics.agreement(expected, got),
            divergence=metrics.divergence(self.expected, own),
            latency_ms=self._latency(out),
            size_mb=qdq.size_mb(out),
            float_macs=self.layers.share(settings.excluded) if settings.method == QDQ else None,
            seconds=perf_counter() - began,
            accuracy_ci=[float(end) for end in binomtest(right, len(got)).proportion_ci(method="wilson")],
            trained_epochs=trained,
        )

    def rank(
        self, settings: CandidateSettings, images: int = 256, *, seconds: float = float("inf")
    ) -> list[dict[str, Any]]:
        """How much each layer alone in INT8 moves the answers, the worst first: `{layer, divergence, macs}`. Raises
        `TimeoutError` when that takes longer than `seconds`: a part of the layers is no ranking."""
        began = perf_counter()
        some, ranges = self.selection[:images], self.ranges(settings)
        graph, out = self.scratch / "one.qdq.onnx", self.scratch / "one.onnx"
        version = onnx.load(str(self.spec.fp32_onnx), load_external_data=False).ir_version
        names = list(self.layers.macs)
        rows = []
        for number, name in enumerate(names):
            if perf_counter() - began > seconds:
                raise TimeoutError(
                    f"the time budget ended after {number} of {len(names)} layers were measured"
                )
            others = [
                node.name
                for node in self.layers.graph.node
                if node.name != name and node.op_type not in qdq.ABSORBED
            ]
            storage = qdq.UNSIGNED if settings.storage != qdq.SIGNED else qdq.SIGNED
            qdq.quantize(self.base(settings), graph, ranges, storage, excluded=others)
            qdq.write_artifact(graph, out, storage, version, self.contract, self.labels)
            divergence = metrics.divergence(self.expected[:images], qdq.logits(out, some))
            rows.append({"layer": name, "divergence": divergence, "macs": self.layers.share([name])})
            self.listener.progress("measuring layers", number + 1, len(names))
        return sorted(rows, key=lambda row: -row["divergence"])

    def _latency(self, path: Path, calls: int = 40) -> float:
        """Median milliseconds of one image: enough to tell kernels from fallbacks; what is shipped is timed apart."""
        runtime, image = open_runtime(path), np.asarray(self.selection[:1])
        times = []
        for _ in range(calls):
            begun = perf_counter()
            runtime(image)
            times.append(perf_counter() - begun)
        return 1000 * float(np.median(times[5:]))


def expected_drop(expected: Logits, temperature: float, answers: metrics.Ints) -> float:
    """Percentage points that `answers` `(n,)` are expected to lose by FP32's calibrated probabilities, see
    `compare.expected_drop`; `expected` are its logits `(n, classes)`."""
    return metrics.expected_drop(expected / np.float32(temperature), answers)


def move_files(judged: Candidate, target: Path) -> None:
    """Move a candidate's files to where the bundle wants them."""
    suffixes: Sequence[str] = (".xml", ".bin") if target.suffix == ".xml" else (".onnx",)
    for suffix in suffixes:
        judged.path.with_suffix(suffix).replace(target.with_suffix(suffix))


def delete_files(judged: Candidate) -> None:
    """Remove a candidate's files: two dozen of a large model would fill the disk."""
    for path in (judged.path, judged.path.with_suffix(".bin"), judged.qdq):
        if path is not None:
            path.unlink(missing_ok=True)


def with_float_layers(settings: CandidateSettings, names: set[str]) -> CandidateSettings:
    """With these layers in float as well."""
    return replace(settings, excluded=settings.excluded | names)
