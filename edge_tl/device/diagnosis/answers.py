"""What somebody's pipeline answered on the golden images, checked and in the bundle's order of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["logits", "probabilities", "top1"]


@dataclass(frozen=True)
class Answers:
    """`images` are positions among the bundle's golden images `(n,)`, `values` float64 `(n, classes)`, without which
    there is `top1` alone, `(n,)` class indices. `step` is the last decimal that was written, 0 where all were.
    `no_softmax`: they were said to be probabilities and are logits, or each label has a probability of its own, and
    `values` are the logits behind them."""

    kind: Kind
    images: NDArray[np.int64]
    values: NDArray[np.float64] | None
    top1: NDArray[np.int64]
    step: float = 0.0
    no_softmax: bool = False

    def part(self, rows: NDArray[np.int64]) -> Answers:
        """The answers in some of the `rows`."""
        values = None if self.values is None else self.values[rows]
        return replace(self, images=self.images[rows], values=values, top1=self.top1[rows])

    def labels_alone(self) -> Answers:
        """The same without its numbers."""
        return Answers("top1", self.images, None, self.top1)

    @property
    def one_hot(self) -> bool:
        """Whether every number is 0 or 1, one of a row 1: a label written as numbers, or a very sure softmax."""
        if self.kind != "probabilities" or self.values is None:
            return False
        return bool(np.isin(self.values, (0, 1)).all() and (self.values.sum(axis=1) == 1).all())

    @property
    def flat(self) -> int:
        """Images that have one number for all labels."""
        return 0 if self.values is None else int((np.ptp(self.values, axis=1) == 0).sum())


def answers_of(
    images: NDArray[np.int64], values: NDArray[np.float64], step: float, kind: Kind | None = None
) -> Answers:
    """Scores `(n, classes)` as what they are: rows of shares that add up to 1, or of percentages to 100, are
    probabilities, rows of shares that do not are a sigmoid's, and everything else logits. `kind` says what they are
    meant to be."""
    top1 = values.argmax(axis=1)
    if values.min() >= 0 and values.max() > 1 and _add_up(values, 100, step):
        values, step = values / 100, step / 100
    shares = values.min() >= 0 and values.max() <= 1
    if shares and step >= 0.5:  # whole numbers: all that they say is which label
        return Answers("top1", images, None, top1)
    if shares and _add_up(values, 1, step):
        return Answers("probabilities", images, values, top1, step)
    if not shares or kind == "logits":
        return Answers("logits", images, values, top1, step, no_softmax=kind == "probabilities")
    edge = max(step / 2, 1e-7)
    within = values.clip(edge, 1 - edge)
    return Answers("logits", images, np.log(within / (1 - within)), top1, 0.0, no_softmax=True)


def _add_up(values: NDArray[np.float64], whole: float, step: float) -> bool:
    off = np.abs(values.sum(axis=1) - whole)
    return bool((off <= 1e-3 * whole + step * values.shape[1]).all())
