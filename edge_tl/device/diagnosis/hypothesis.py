"""What may explain somebody's answers: the logits of a pipeline, its last steps and its labels. Runs no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.diagnosis.label_order import fitting_order, is_own, order_penalty, usual_orders
from edge_tl.device.diagnosis.likeness import Likeness, comparison
from edge_tl.device.diagnosis.mistakes import mistake_name
from edge_tl.device.metrics import softmax
from edge_tl.device.runtimes.open import Logits

ONE_STEP = 3.0
"""Nats that a mistake must earn beyond the reference."""
_SECOND, _VARIANT = 8.0, 0.5  # and beyond a simpler mistake


@dataclass(frozen=True)
class Hypothesis:
    """`mistakes` by name, none for the reference; `penalty` in nats; `detail` says which order of labels."""

    mistakes: tuple[str, ...]
    artifact: str
    likeness: Likeness
    penalty: float
    detail: str = ""

    @property
    def name(self) -> str:
        """Of all its mistakes."""
        return mistake_name(self.mistakes)


@dataclass(frozen=True)
class Explained:
    """The answers, and the bundle's labels."""

    answers: Answers
    labels: Sequence[str]

    def hypotheses(
        self, mistakes: tuple[str, ...], artifact: str, logits: Logits, *, whole: bool, variant: bool = False
    ) -> Iterator[Hypothesis]:
        """`logits` of the answered images as they are and, with `whole`, under other orders of labels and, where the
        answers are probabilities, after a second softmax."""
        outputs: list[tuple[tuple[str, ...], NDArray[np.floating[Any]]]] = [((), logits)]
        if self.answers.no_softmax:
            outputs = [(("no_softmax",), logits)]
        elif self.answers.kind == "probabilities" and whole:
            outputs.append((("double_softmax",), softmax(logits)))
        compare = comparison(self.answers)
        for more, scores in outputs:
            names = (*mistakes, *more)
            penalty = _penalty(names) + _VARIANT * variant
            yield Hypothesis(names, artifact, compare(scores), penalty)
            if whole and not variant:
                for order, called, extra in self._orders(scores):
                    moved = scores[:, list(order)]
                    named = (*names, "label_order")
                    yield Hypothesis(named, artifact, compare(moved), _penalty(named) + extra, called)

    def _orders(self, scores: NDArray[np.floating[Any]]) -> Iterator[tuple[tuple[int, ...], str, float]]:
        usual = usual_orders(self.labels)
        for called, order in usual.items():
            yield order, called, order_penalty(order, self.answers, usual=True)
        found = fitting_order(self.answers, np.asarray(scores, np.float32))
        if not is_own(found) and found not in usual.values():
            yield found, _moves(found, self.labels), order_penalty(found, self.answers, usual=False)


def distinct(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """The first of each name."""
    found: dict[str, Hypothesis] = {}
    for each in hypotheses:
        found.setdefault(each.name, each)
    return list(found.values())


def _penalty(mistakes: tuple[str, ...]) -> float:
    return 0.0 if not mistakes else ONE_STEP + _SECOND * (len(set(mistakes)) - 1)


def _moves(order: Sequence[int], labels: Sequence[str]) -> str:
    """The first labels that are wrong, and whose logit each has."""
    wrong = [(labels[i], labels[logit]) for i, logit in enumerate(order) if i != logit]
    shown = ", ".join(f"{label} has the logit of {other}" for label, other in wrong[:3])
    return shown + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
