"""Which images a report shows: the errors that an artifact is surest of, answers that are not PyTorch's, and typical
right ones.

Runs no model and reads no image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.metrics import softmax, top1
from edge_tl.device.records.pictures import HeatmapRows
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.images.dataset import Sample

Maps = Mapping[str, NDArray[np.float32]]
MOST = 6  # errors, as many flips, and as many right answers


@dataclass(frozen=True)
class NotableAnswer:
    """An image, the classes that PyTorch and an artifact (`device`) answer, their probabilities, and heat maps where
    they were made, as in `AnswerPicture`."""

    sample: Sample
    pytorch: int
    pytorch_probability: float
    device: int
    device_probability: float
    heatmap: HeatmapRows | None = None
    pytorch_heatmap: HeatmapRows | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the artifact's answer is not PyTorch's."""
        return self.device != self.pytorch


@dataclass(frozen=True)
class NotableAnswers:
    """Of one artifact: wrong ones, the surest first, and changed ones, those that were right before first. `fp32` is
    the artifact of PyTorch's heat maps. `right`: of some classes the right answer of middling probability."""

    errors: tuple[NotableAnswer, ...]
    flips: tuple[NotableAnswer, ...]
    fp32: str | None = None
    right: tuple[NotableAnswer, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every image that gets heat maps, once."""
        return tuple({each.sample.digest: each.sample for each in (*self.errors, *self.flips)}.values())


def notable_answers(samples: Sequence[Sample], expected: Logits, own: Logits) -> NotableAnswers:
    """Of an artifact's logits `own` and PyTorch's, `expected`, calibrated, `(n, classes)` of `samples`."""
    labels = np.array([sample.label for sample in samples])
    before, after = top1(expected), top1(own)
    p, q = softmax(expected), softmax(own)

    def answer(i: int) -> NotableAnswer:
        a, b = int(before[i]), int(after[i])
        return NotableAnswer(samples[i], a, round(float(p[i, a]), 6), b, round(float(q[i, b]), 6))

    certain = -q.max(axis=1)
    wrong, changed = np.flatnonzero(after != labels), np.flatnonzero(after != before)
    wrong = wrong[np.argsort(certain[wrong], kind="stable")]
    changed = changed[np.lexsort((certain[changed], before[changed] != labels[changed]))]
    right = [_typical(np.flatnonzero((after == labels) & (labels == k)), certain) for k in np.unique(labels)]
    found = [i for i in right if i is not None]
    some = (
        np.unique(np.linspace(0, len(found) - 1, MOST).round().astype(int))
        if len(found) > MOST
        else range(len(found))
    )
    return NotableAnswers(
        tuple(map(answer, wrong[:MOST])),
        tuple(map(answer, changed[:MOST])),
        right=tuple(answer(found[i]) for i in some),
    )


def _typical(images: NDArray[np.intp], certain: NDArray[np.float64]) -> int | None:
    """Of the middling probability; None of no image."""
    order = images[np.argsort(certain[images], kind="stable")]
    return int(order[len(order) // 2]) if len(order) else None


def with_maps(answers: NotableAnswers, own: Maps, fp32: str | None, whole: Maps) -> NotableAnswers:
    """With the artifact's own maps and those of the artifact `fp32`, `(h, w, classes)` by the image's digest."""

    def mapped(answer: NotableAnswer) -> NotableAnswer:
        digest = answer.sample.digest
        return replace(
            answer,
            heatmap=_rows(own.get(digest), answer.device),
            pytorch_heatmap=_rows(whole.get(digest), answer.pytorch) if answer.is_changed else None,
        )

    return NotableAnswers(
        tuple(map(mapped, answers.errors)), tuple(map(mapped, answers.flips)), fp32, answers.right
    )


def _rows(maps: NDArray[np.float32] | None, label: int) -> HeatmapRows | None:
    if maps is None or not np.isfinite(maps[..., label]).all():
        return None
    return tuple(tuple(round(float(value), 4) for value in row) for row in maps[..., label])
