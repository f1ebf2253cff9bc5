"""How far a model's confidence can be believed, before and after quantization; the answers themselves never change.

A temperature divides all logits by one number, fitted so that the probabilities come true on validation images (Guo et
al., "On Calibration of Modern Neural Networks", 2017, section 4.2). Each artifact gets its own, folded into its file,
because quantization shifts confidences too. Chooses nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import from_array

from edge_tl.device.machine import openvino_core
from edge_tl.device.metrics import softmax
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.accuracy import ConfidenceRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.fp32 import OUTPUT, save_openvino
from edge_tl.host.training.metrics import calibration_error, confidence_bins

Labels = NDArray[np.int64]
_RANGE = (0.2, 10.0)  # beyond, a few images would decide how certain the model claims to be
_EDGE = 1.02  # an optimum within this factor of the range's ends is none
_SPREAD = 0.5  # of log T around 0, as models that nobody calibrated have it


def temperature(labels: Labels, logits: Logits, seed: int = 0) -> float:
    """What to divide logits `(n, classes)` by; 1 where that helps nothing on images it was not fitted to.

    Each half of the images, drawn with `seed`, judges the other half's temperature: a few dozen images, or some that
    the model knows by heart, fit a temperature that is wrong on the next ones.
    """
    if len(labels) < 20:
        return 1.0
    crossed = log_loss(labels, held_out(labels, logits, seed))
    found = _fit(labels, logits)
    # At an end of the range there was no optimum: the images do not say how certain the model may be.
    inside = _RANGE[0] * _EDGE < found < _RANGE[1] / _EDGE
    return found if inside and crossed < log_loss(labels, logits) else 1.0


def held_out(labels: Labels, logits: Logits, seed: int = 0) -> NDArray[np.float64]:
    """Each half of the logits divided by the other half's temperature: what to measure calibration on where the images
    that fitted it are all there are."""
    result = logits.astype(np.float64)
    first = _half(labels, seed)
    for mine in (first, ~first):
        result[mine] /= _fit(labels[~mine], logits[~mine])
    return result


def _half(labels: Labels, seed: int) -> NDArray[np.bool_]:
    """Half of the images of each class, within one image, however they are ordered: of images that come classes in turn
    every second one is of half the classes."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    by_class = np.lexsort((drawn, labels))
    first = np.zeros(len(labels), np.bool_)
    first[by_class[::2]] = True
    return first


def log_loss(labels: Labels, logits: NDArray[Any]) -> float:
    """Mean cross entropy in nats."""
    own = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(own, np.finfo(np.float64).tiny))))


def figures(labels: Labels, raw: Logits, calibrated: NDArray[Any], divided_by: float) -> ConfidenceRecord:
    """Calibration error and log loss on one set of images, before and after the division, and the bins of the
    errors."""
    after, before = softmax(calibrated), softmax(raw)
    return ConfidenceRecord(
        temperature=divided_by,
        ece=calibration_error(labels, after),
        ece_before=calibration_error(labels, before),
        log_loss=log_loss(labels, calibrated),
        log_loss_before=log_loss(labels, raw),
        bins=confidence_bins(labels, after),
        bins_before=confidence_bins(labels, before),
    )


class Coverage(NamedTuple):
    """The share of images that are answered, and the share of those that is right; None where that is not known."""

    coverage: float | None
    accuracy: float | None


def confident(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The probability `(n,)` of each answer."""
    result: NDArray[np.float64] = softmax(logits).max(axis=1)
    return result


def restoring(threshold: float, reference: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    """The threshold above which as many of `own` confidences lie as of the reference's above `threshold`."""
    count = int(np.sum(reference >= threshold))
    ordered = np.sort(own)[::-1]
    return float(ordered[count - 1] if count else np.nextafter(ordered[0], 2.0))


def coverage(labels: Labels, logits: NDArray[Any], threshold: float) -> Coverage:
    """The share of images answered with at least `threshold`, and how many of those answers are right."""
    return _answered(labels, logits, confident(logits) >= threshold)


def held_out_coverage(
    threshold: float, labels: Labels, reference: NDArray[Any], own: NDArray[Any], seed: int = 0
) -> Coverage:
    """As `coverage`, each half of the images by the threshold that the other half restores: what to judge a restored
    threshold by where the images that restored it are all there are. None for both of fewer than two images."""
    if len(labels) < 2:
        return Coverage(None, None)
    asked, mine = confident(reference), confident(own)
    sure, first = np.zeros(len(labels), np.bool_), _half(labels, seed)
    for half in (first, ~first):
        sure[half] = mine[half] >= restoring(threshold, asked[~half], mine[~half])
    return _answered(labels, own, sure)


def _answered(labels: Labels, logits: NDArray[Any], sure: NDArray[np.bool_]) -> Coverage:
    right = logits.argmax(axis=1)[sure] == labels[sure]
    return Coverage(float(np.mean(sure)), float(np.mean(right)) if sure.any() else None)


def fold(path: Path, divided_by: float, contract: Preprocess, labels: list[str]) -> None:
    """Divide the logits of the model file at `path` (`.onnx` or `.xml`), in place."""
    if divided_by == 1.0:
        return
    if path.suffix == ".onnx":
        _fold_onnx(path, divided_by)
        return
    from openvino import opset13 as ops

    model = openvino_core().read_model(path)
    result = model.get_results()[0]
    logits = result.input_value(0)
    scaled = ops.multiply(logits, np.float32(1 / divided_by))
    scaled.output(0).set_names(logits.get_names())
    logits.set_names(set())
    result.input(0).replace_source_output(scaled.output(0))
    # The weights are mapped from the file that is to be replaced.
    beside = path.with_name(f"folded.{path.name}")
    save_openvino(model, beside, contract, labels)
    for suffix in (".bin", ".xml"):
        beside.with_suffix(suffix).replace(path.with_suffix(suffix))


def _fold_onnx(path: Path, divided_by: float) -> None:
    model = onnx.load(str(path))
    [output] = model.graph.output
    maker = next(node for node in model.graph.node if output.name in node.output)
    maker.output[list(maker.output).index(output.name)] = f"{OUTPUT}_before_temperature"
    model.graph.initializer.append(from_array(np.float32(1 / divided_by), "inverse_temperature"))
    model.graph.node.append(
        onnx.helper.make_node(
            "Mul", [f"{OUTPUT}_before_temperature", "inverse_temperature"], [output.name], "temperature"
        )
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(path))


def _fit(labels: Labels, logits: Logits) -> float:
    """Where the log loss is least, with a normal prior on log T that weighs as much as a few images: where every answer
    is right, the loss alone falls without end as T goes to 0."""
    from scipy.optimize import minimize_scalar

    def cost(power: float) -> float:
        return log_loss(labels, logits / np.exp(power)) + 0.5 * (power / _SPREAD) ** 2 / len(labels)

    found = minimize_scalar(cost, bounds=np.log(_RANGE), method="bounded")
    return float(np.exp(found.x))
