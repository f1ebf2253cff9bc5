"""Which range of an activation its 256 codes cover: histograms of every tensor over the calibration images, and the
estimators that cut them. Quantizes nothing.

One pass finds the extremes, a second fills the histograms, an image at a time on each core; every estimator then costs
milliseconds, so that a search over them costs no more passes. Pooling all values of all images before cutting is what
makes the difference: quantiles taken image by image and then averaged cut what only some images use.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert.fp32 import INPUT
from edge_tl.host.convert.graph import attribute, consumers

Range = tuple[float, float]
BINS = 4096
ABSORBED = ("Relu", "Clip")
"""Operators that a range replaces: the quantizer removes them where their input is quantized."""
ESTIMATORS = ("99.9", "99.99", "99.95", "99.8", "l1", "mse", "entropy", "min-max")
"""Percentages of all values kept, half of the rest cut at either end; or what the codes' error is minimized in."""
_LEVELS = 255
_MOST_BYTES = 2_000_000_000  # of activations in memory at a time
_CHUNK = 1 << 15
_MOST_COUNTED = 1 << 17  # of a tensor's values in an image


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


def histograms(
    path: str, images: NDArray[np.float32], listener: Listener = SILENT, *, symmetric: bool = False
) -> dict[str, Histogram]:
    """A histogram of every float activation of the ONNX file at `path` that may be quantized, by tensor name;
    `symmetric` as of `qdq.QdqOptions`.

    `images` is float32 `(n, 3, H, W)` and is read twice, an image at a time on each core.
    """
    import onnxruntime

    graph = onnx.load(path)
    bounds = saturated(graph)
    names = _activations(graph, symmetric)
    asked = [name for name in names if name != INPUT]
    present = {output.name for output in graph.graph.output}
    for name in asked:
        if name not in present:
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each core has an image of its own
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def activations(image: NDArray[np.float32]) -> Activations:
        return dict(zip(names, [image, *session.run(asked, {INPUT: image[None]})], strict=True))

    steps = _Steps(listener, 2 * len(images))
    size = sum(value.nbytes for value in activations(np.array(images[0])).values()) if len(images) else 1
    parts = [images[i::count] for count in [_at_once(size, len(images))] for i in range(count)]
    with ThreadPoolExecutor(len(parts)) as pool:
        found = list(pool.map(lambda part: _extremes(activations, part, steps), parts))
        low = {name: min((each[0][name] for each in found), default=np.inf) for name in names}
        high = {name: max((each[1][name] for each in found), default=-np.inf) for name in names}
        ends = {name: (float(low[name]), float(high[name])) for name in names}
        counted = list(pool.map(lambda part: _counts(activations, part, ends, steps), parts))
    unbounded = (-np.inf, np.inf)
    return {
        name: Histogram(
            *ends[name], sum((each[name] for each in counted), np.zeros(BINS)), bounds.get(name, unbounded)
        )
        for name in names
    }


Activations = dict[str, NDArray[np.float32]]
"""Every float tensor of one image by name."""


class _Steps:
    """Tells one listener of the steps of several threads."""

    def __init__(self, listener: Listener, total: int) -> None:
        self._listener, self._total, self._done = listener, total, 0
        self._one_at_a_time = threading.Lock()

    def step(self) -> None:
        with self._one_at_a_time:
            self._done += 1
            self._listener.progress("ranges", self._done, self._total)


def _at_once(size: int, images: int) -> int:
    """How many images' activations, of `size` bytes each, are in memory at a time."""
    return max(1, min(cores_allowed(), _MOST_BYTES // max(size, 1), images))


def _extremes(
    activations: Callable[[NDArray[np.float32]], Activations], images: NDArray[np.float32], steps: _Steps
) -> tuple[dict[str, float], dict[str, float]]:
    """The least and the largest value of each tensor over `images`."""
    low: dict[str, float] = defaultdict(lambda: np.inf)
    high: dict[str, float] = defaultdict(lambda: -np.inf)
    for image in images:
        for name, value in activations(np.array(image)).items():
            low[name], high[name] = min(low[name], value.min()), max(high[name], value.max())
        steps.step()
    return low, high


def _counts(
    activations: Callable[[NDArray[np.float32]], Activations],
    images: NDArray[np.float32],
    ends: Mapping[str, Range],
    steps: _Steps,
) -> dict[str, NDArray[np.float64]]:
    """How many values of each tensor lie in each of `BINS` bins between its ends, over `images`; of a large tensor some
    of its values."""
    # Below it bins are finer than numbers; all values are one.
    narrowest = 2 * BINS * np.finfo(np.float32).eps
    counts = {name: np.zeros(BINS) for name in ends}
    for image in images:
        for name, value in activations(np.array(image)).items():
            low, high = ends[name]
            if high - low > narrowest * max(abs(low), abs(high)):
                counts[name] += binned(some_values(value), low, high)
        steps.step()
    return counts


def some_values(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most `_MOST_COUNTED` of `(n, C, H, W)` or `(n, d)` values, from every row and column alike: over some hundred
    images a thousandth part of them is still thousands."""
    step = -(-values.size // _MOST_COUNTED)
    while math.gcd(step, math.prod(values.shape[2:])) > 1:  # else some columns would never be met
        step += 1
    return values.ravel()[::step]


def binned(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    """`np.histogram(values, BINS, (low, high))[0]` in a quarter of its time: a value within rounding of a bin's edge,
    one in ten thousand, may count for the bin beside it."""
    flat, first = values.ravel(), np.float32(low)
    scale = np.float32(BINS) / (np.float32(high) - first)
    counts = np.zeros(BINS + 1, np.int64)
    places, bins = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.int64)
    try:
        for start in range(0, len(flat), _CHUNK):  # as much as stays in a core's cache
            chunk = flat[start : start + _CHUNK]
            placed, whole = places[: len(chunk)], bins[: len(chunk)]
            np.subtract(chunk, first, out=placed)
            np.multiply(placed, scale, out=placed)
            with np.errstate(invalid="ignore"):
                np.copyto(whole, placed, casting="unsafe")
            counts += np.bincount(whole, minlength=BINS + 1)
    except ValueError:  # values that are not numbers, or beyond the ends
        return np.histogram(values, BINS, (low, high))[0]
    counts[BINS - 1] += counts[BINS]  # the last bin holds its upper end
    return counts[:BINS]


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


def absorbed(graph: onnx.GraphProto) -> set[str]:
    """The tensors that only a ReLU or Clip reads: the range of what comes out of that takes its place, and nothing is
    rounded before. Not behind the last layer, where nothing is taken away."""
    readers, floating = consumers(graph), set(after_the_last_layer(graph))
    found = set()
    for node in graph.node:
        for name in node.output:
            behind = readers[name]
            if len(behind) == 1 and behind[0].op_type in ABSORBED and behind[0].name not in floating:
                found.add(name)
    return found - {output.name for output in graph.output}


def after_the_last_layer(graph: onnx.GraphProto) -> list[str]:
    """The nodes of a float graph between its last convolution or product and the logits."""
    after, open_ = [], {output.name for output in graph.output}
    for node in reversed(graph.node):
        if open_ & set(node.output) and node.op_type not in MATRIX_OPERATORS:
            after.append(node.name)
            open_ |= set(node.input)
    return after


def _activations(graph: onnx.ModelProto, symmetric: bool = False) -> list[str]:
    """Every float tensor that depends on the input, the input first; not the logits, which are never quantized, and
    not what is `absorbed`, unless ranges are `symmetric`."""
    known = {INPUT}
    names = [INPUT]
    left_out = {output.name for output in graph.graph.output} | (
        set() if symmetric else absorbed(graph.graph)
    )
    for node in graph.graph.node:
        if known & set(node.input) and node.op_type != "Shape":
            for name in node.output:
                if name and name not in known:
                    known.add(name)
                    if name not in left_out:
                        names.append(name)
    return names
