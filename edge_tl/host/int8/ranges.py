"""Which range of an activation its 256 codes cover: histograms of every tensor over the calibration images, and the
estimators that cut them. Quantizes nothing.

One pass finds the extremes, a second fills the histograms, one image at a time; every estimator then costs
milliseconds, so that a search over them costs no more passes. Pooling all values of all images before cutting is what
makes the difference: quantiles taken image by image and then averaged cut what only some images use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.host.convert.fp32 import INPUT
from edge_tl.host.convert.graph import attribute, consumers

Range = tuple[float, float]
BINS = 4096
ESTIMATORS = ("99.9", "99.99", "99.95", "99.8", "l1", "mse", "entropy", "min-max")
"""Percentages of all values kept, half of the rest cut at either end; or what the codes' error is minimized in."""
_LEVELS = 255


@dataclass(frozen=True)
class Histogram:
    """Counts over `BINS` equal bins of [low, high]; values beyond `bounds` are all one to the next layer."""

    low: float
    high: float
    counts: NDArray[np.float64]
    bounds: Range

    def range(self, estimator: str) -> Range:
        """The range to quantize to, which holds 0, by one of `ESTIMATORS`."""
        low, high = max(min(self.low, 0.0), self.bounds[0]), min(max(self.high, 0.0), self.bounds[1])
        if estimator == "min-max" or not self.counts.any():
            return low, high
        if estimator in ("mse", "l1", "entropy"):
            return self._searched(low, high, estimator)
        cut = (1 - float(estimator) / 100) / 2
        share = np.cumsum(self.counts) / self.counts.sum()
        edges = np.linspace(self.low, self.high, BINS + 1)
        first = edges[int(np.searchsorted(share, cut))]
        last = edges[min(int(np.searchsorted(share, 1 - cut)) + 1, BINS)]
        return max(low, min(float(first), 0.0)), min(high, max(float(last), 0.0))

    def _searched(self, low: float, high: float, estimator: str) -> Range:
        """The best of a grid of fractions of the extremes."""
        centres = np.linspace(self.low, self.high, 2 * BINS + 1)[1::2]
        kept = self.counts > 0
        values, counts = np.clip(centres[kept], *self.bounds), self.counts[kept] / self.counts.sum()
        lows = np.linspace(0.2, 1.0, 17) * low if low < 0 else np.zeros(1)
        best, found = np.inf, (low, high)
        for a in lows:
            for b in np.linspace(0.2, 1.0, 33) * high:
                if b - a <= 0:
                    continue
                error = _error(values, counts, float(a), float(b), estimator)
                if error < best:
                    best, found = error, (float(a), float(b))
        return found


def _error(
    values: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float, estimator: str
) -> float:
    """What quantizing `values` to the codes of [low, high] costs."""
    step = (high - low) / _LEVELS
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(values / step) + zero, 0, _LEVELS)
    if estimator == "entropy":
        # Kullback-Leibler divergence of the codes' distribution, spread evenly over the bins that a code stands for,
        # from the values' own, cut values counted at the ends (Migacz, "8-bit Inference with TensorRT", 2017).
        numbers = codes.astype(np.int64)
        mass = np.bincount(numbers, counts, _LEVELS + 1)
        inside = (values >= low) & (values <= high)
        size = np.bincount(numbers[inside], minlength=_LEVELS + 1)
        spread = mass[numbers] / np.maximum(size[numbers], 1)
        kept = inside & (spread > 0)
        own = counts[kept].copy()
        lost = counts[~inside].sum()
        return float(np.sum(own * np.log(own / spread[kept]))) + float(lost * np.log(1 / 1e-6))
    difference = np.abs((codes - zero) * step - values)
    return float(np.sum(counts * (difference if estimator == "l1" else difference**2)))


def histograms(path: str, images: NDArray[np.float32], listener: Listener = SILENT) -> dict[str, Histogram]:
    """A histogram of every float activation of the ONNX file at `path`, by tensor name.

    `images` is float32 `(n, 3, H, W)` and is read twice, one image at a time.
    """
    import onnxruntime

    graph = onnx.load(path)
    bounds = saturated(graph)
    names = _activations(graph)
    asked = [name for name in names if name != INPUT]
    present = {output.name for output in graph.graph.output}
    for name in asked:
        if name not in present:
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores_allowed()
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    counts = {name: np.zeros(BINS) for name in names}
    narrowest = (
        2 * BINS * np.finfo(np.float32).eps
    )  # below it bins are finer than numbers; all values are one
    for pass_ in range(2):
        for number, image in enumerate(images):
            values = session.run(asked, {INPUT: image[None]})
            for name, value in zip([INPUT, *asked], [image, *values], strict=True):
                if pass_ == 0:
                    low[name], high[name] = min(low[name], value.min()), max(high[name], value.max())
                elif high[name] - low[name] > narrowest * max(abs(low[name]), abs(high[name])):
                    counts[name] += np.histogram(value, BINS, (float(low[name]), float(high[name])))[0]
            listener.progress("ranges", pass_ * len(images) + number + 1, 2 * len(images))
    unbounded = (-np.inf, np.inf)
    return {
        name: Histogram(float(low[name]), float(high[name]), counts[name], bounds.get(name, unbounded))
        for name in names
    }


def saturated(graph: onnx.ModelProto) -> dict[str, Range]:
    """Where the activation that follows a convolution stops changing, by the name of the convolution's output.

    ONNX Runtime has no fused INT8 hard-swish, so a convolution's output is quantized twice, before and after. Below -3
    hard-swish is 0 and outside [-3, 3] hard-sigmoid is constant: codes spent there are lost.
    """
    readers = consumers(graph.graph)
    bounds: dict[str, Range] = {}
    for node in graph.graph.node:
        followers = {follower.op_type: follower for follower in readers[node.output[0]]}
        if node.op_type != "Conv":
            continue
        if set(followers) == {"HardSwish"}:
            bounds[node.output[0]] = (-3.0, np.inf)
        elif "HardSigmoid" in followers:
            gate = followers.pop("HardSigmoid")
            alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
            if not followers:
                bounds[node.output[0]] = (-beta / alpha, (1 - beta) / alpha)
            elif set(followers) == {"Mul"} and gate.output[0] in followers["Mul"].input:
                bounds[node.output[0]] = (-beta / alpha, np.inf)  # hard-swish, written out
    return bounds


def _activations(graph: onnx.ModelProto) -> list[str]:
    """Every float tensor that depends on the input, the input first; not the logits, which are never quantized."""
    known = {INPUT}
    names = [INPUT]
    logits = {output.name for output in graph.graph.output}
    for node in graph.graph.node:
        if known & set(node.input) and node.op_type != "Shape":
            for name in node.output:
                if name and name not in known:
                    known.add(name)
                    if name not in logits:
                        names.append(name)
    return names
