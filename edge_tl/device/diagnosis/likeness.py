"""How well logits explain the answers of a file: whatever softmax forgets (a shift, a temperature) counts for nothing.

Residuals are in units of what tells the file's images apart, so a pipeline that answers all images nearly alike must be
met as closely, in proportion, as any other. Of a sum over images each has a bounded part: a few odd images cannot
decide alone, whichever way they were misread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.metrics import softmax

Floats = NDArray[np.float64]

_DEGREES = 4.0  # of Student's t, for images that nothing explains
_MOST = 12.0  # nats that one image may count: enough for the one that an EXIF orientation turns
_MOST_TOP1 = 8.0
_TEMPERATURES = np.geomspace(0.25, 4.0, 13)
_FLIPPED = 0.02  # top-1 that noise alone may change
_SHARPNESS = 12.0  # of top-1: logits in units of their spread


@dataclass(frozen=True)
class Likeness:
    """Of answers and logits: `residuals` `(n,)`, the share of each image's answer that stays unexplained; their
    `correlation` over all images and labels; for top-1 `residuals` are the surprise in nats and `correlation` is the
    share of equal answers. `scale` is the factor on the logits."""

    residuals: Floats
    correlation: float
    scale: float
    model: Floats

    @property
    def typical(self) -> float:
        """The median residual."""
        return float(np.median(self.residuals))


Compare = Callable[[NDArray[np.floating[Any]]], Likeness]


def comparison(answers: Answers) -> Compare:
    """What compares logits `(n, classes)`, of the same images, with `answers`."""
    if answers.kind == "top1":
        return lambda logits: _of_top1(answers, logits)
    seen, spread = _seen(answers)
    if answers.kind == "logits":
        return lambda logits: _linear(seen, spread, _centred(np.asarray(logits, np.float64)))
    floor = _floor(answers)
    return lambda logits: _softmaxed(seen, spread, np.asarray(logits, np.float64), floor)


def tells_images_apart(answers: Answers) -> bool:
    """Whether the numbers of half of the images differ from the others' by more than their decimals leave open. Where
    they do not, a factor of nothing on any logits explains them: only their labels can be compared."""
    if answers.values is None:
        return True
    if answers.kind == "logits":
        seen, rounded = _centred(answers.values), np.full(answers.values.shape, answers.step)
    else:
        floor = max(3 * answers.step, 1e-6)
        shares = answers.values.clip(0) + floor
        seen, rounded = np.log(shares), answers.step / shares
    noise = float(np.median(np.linalg.norm(rounded, axis=1))) / np.sqrt(12)
    return bool(_apart(seen) > max(2 * noise, 1e-9 * float(np.abs(answers.values).max(initial=1.0))))


def noise_of_rounding(answers: Answers) -> float:
    """The median residual of a right answer that was written with so few decimals."""
    if answers.values is None or not answers.step:
        return 0.0
    error = answers.step / np.sqrt(12)
    seen, spread = _seen(answers)
    if answers.kind == "logits":
        return float(error * np.sqrt(seen.shape[1]) / spread)
    each = np.linalg.norm(error / (answers.values.clip(0) + _floor(answers)), axis=1)
    return float(np.median(each) / spread)


def bounds_of_rounding(answers: Answers) -> Floats:
    """`(n,)`: the most residual that the decimals leave of a right answer, image by image."""
    if answers.values is None or not answers.step:
        return np.zeros(len(answers.images))
    seen, spread = _seen(answers)
    if answers.kind == "logits":
        whole = np.full(len(answers.images), answers.step / 2 * np.sqrt(seen.shape[1]))
        return np.asarray(whole / spread, np.float64)
    floor = _floor(answers)
    # The least that the written number may stand for.
    low = (answers.values - answers.step / 2).clip(0) + floor
    each = np.log((answers.values.clip(0) + floor) / low)
    bounds = np.linalg.norm(np.maximum(each, answers.step / 2 / low), axis=1)
    return np.asarray(bounds / spread, np.float64)


def score(residuals: Floats, noise: float, *, top1: bool) -> float:
    """Log-likelihood in nats, up to a constant, where a right explanation leaves residuals of about `noise`."""
    if top1:
        return -float(np.minimum(residuals, _MOST_TOP1).sum())
    return float(_nats(residuals, noise).sum())


def _nats(residuals: Floats, noise: float) -> Floats:
    squared = (residuals / noise) ** 2 / _DEGREES
    return -np.minimum((_DEGREES + 1) / 2 * np.log1p(squared), _MOST)


def score_without_images(answers: Answers, rows: NDArray[np.int64], noise: float) -> float:
    """The same, of the images in `rows`, of an explanation that looks at none: their labels in any order, or for each
    image the answer of any other."""
    if answers.values is None:
        _, counts = np.unique(answers.top1[rows], return_counts=True)
        return sum(math.lgamma(count + 1) for count in counts.tolist()) - math.lgamma(len(rows) + 1)
    seen, spread = _seen(answers)
    total = 0.0
    for i in rows.tolist():
        others = seen[rows[rows != i]]
        nats = _nats(np.linalg.norm(others - seen[i], axis=1) / spread, noise)
        total += max(float(np.log(np.exp(nats).mean())) if len(others) else -_MOST, -_MOST)
    return total


def _floor(answers: Answers) -> float:
    """The least share that is told from none."""
    return max(3 * answers.step, 1e-6)


def _seen(answers: Answers) -> tuple[Floats, float]:
    """Answers as what is compared, and their spread."""
    assert answers.values is not None
    if answers.kind == "logits":
        seen = _centred(answers.values)
        return seen, _spread(seen, answers.step)
    floor = _floor(answers)
    shown: Floats = np.log(answers.values.clip(0) + floor)
    return shown, _spread(shown, answers.step / floor)


def _centred(values: Floats) -> Floats:
    found: Floats = values - values.mean(axis=1, keepdims=True)
    return found


def _apart(seen: Floats) -> float:
    """What tells images apart: the median distance of an image's answer from the median answer."""
    return float(np.median(np.linalg.norm(seen - np.median(seen, axis=0), axis=1)))


def _spread(seen: Floats, step: float) -> float:
    """That, or what the decimals leave open."""
    written = step * np.sqrt(seen.shape[1])
    return max(_apart(seen), float(written), 1e-9 * float(np.abs(seen).max(initial=1.0)), 1e-12)


def _linear(seen: Floats, spread: float, logits: Floats) -> Likeness:
    weights = np.ones(len(seen))
    scale = 1.0
    for _ in range(4):  # reweighted least squares: an odd image must not set the temperature
        product = float((weights * (seen * logits).sum(axis=1)).sum())
        power = float((weights * (logits**2).sum(axis=1)).sum())
        scale = max(product / power, 0.0) if power > 0 else 0.0
        off = np.linalg.norm(seen - scale * logits, axis=1)
        weights = 1 / (1 + (off / max(float(np.median(off)), 1e-12)) ** 2)
    return Likeness(off / spread, _correlation(seen, logits), scale, scale * logits)


def _softmaxed(shown: Floats, spread: float, logits: Floats, floor: float) -> Likeness:
    def at(scale: float) -> tuple[float, Floats, Floats]:
        model = np.log(softmax(logits * scale) + floor)
        off = np.linalg.norm(shown - model, axis=1)
        return float(np.median(off) + 0.1 * np.mean(off)), off, model

    best = min(_TEMPERATURES, key=lambda scale: at(scale)[0])
    if at(1.0)[0] <= at(best)[0]:
        best = 1.0
    step = float(_TEMPERATURES[1] / _TEMPERATURES[0])
    while step > 1.002:
        step = step**0.5
        best = min((best / step, best, best * step), key=lambda scale: at(scale)[0])
    _, off, model = at(float(best))
    return Likeness(off / spread, _correlation(_centred(shown), _centred(model)), float(best), model)


def _of_top1(answers: Answers, logits: NDArray[np.floating[Any]]) -> Likeness:
    centred = _centred(np.asarray(logits, np.float64))
    size = float(np.median(np.linalg.norm(centred, axis=1))) or 1.0
    shares = softmax(centred * (_SHARPNESS * np.sqrt(centred.shape[1]) / size))
    picked = shares[np.arange(len(shares)), answers.top1]
    surprise = -np.log((1 - _FLIPPED) * picked + _FLIPPED / centred.shape[1])
    same = float(np.mean(centred.argmax(axis=1) == answers.top1))
    return Likeness(surprise, same, 1.0, shares)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's, of all values; 0 where one side says nothing."""
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip((a * b).sum() / scale, -1, 1)) if scale > 0 else 0.0
