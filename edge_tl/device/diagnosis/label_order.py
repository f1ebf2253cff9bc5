"""Labels that are attached to the wrong logits: which order of the classes explains the answers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.metrics import softmax

_MOST_CLASSES = 2000  # the memory of all pairs of label and logit
Order = tuple[int, ...]
"""For each label of the bundle, the logit that stands under its name."""


def usual_orders(labels: Sequence[str]) -> dict[str, Order]:
    """Orders that programs put labels in, by what they are called; without the bundle's own."""
    keys = {
        "sorted as text": lambda i: labels[i],
        "sorted by locale": lambda i: (_base(labels[i]).casefold(), labels[i]),
        "sorted by number": lambda i: [
            (0, int(part), "") if part.isdecimal() else (1, 0, part)
            for part in re.findall(r"\d{1,18}|\D+|\d+", labels[i])
        ],
        "reversed": lambda i: -i,
    }
    count = len(labels)
    found: dict[str, Order] = {}
    for called, key in keys.items():
        listed = sorted(range(count), key=key)
        # The k-th logit gets the k-th name of the other list.
        order = [0] * count
        for logit, label in enumerate(listed):
            order[label] = logit
        if order != list(range(count)) and tuple(order) not in found.values():
            found[called] = tuple(order)
    return found


def fitting_order(answers: Answers, logits: NDArray[np.float32]) -> Order:
    """The order, of all that there are, under which `logits` `(n, classes)` are nearest to the answers: the closest
    pairs of label and logit first."""
    classes = logits.shape[1]
    if classes > _MOST_CLASSES:
        return tuple(range(classes))
    if answers.values is None:
        counts = np.zeros((classes, classes))
        np.add.at(counts, (answers.top1, logits.argmax(axis=1)), 1)
        return _assigned(-counts)
    if answers.kind == "logits":
        seen, own = _centred(answers.values), _centred(logits.astype(np.float64))
        size = np.linalg.norm(own)
        own = own * (np.linalg.norm(seen) / size if size else 1.0)
    else:
        floor = max(3 * answers.step, 1e-6)
        seen, own = np.log(answers.values.clip(0) + floor), np.log(softmax(logits) + floor)
    cost = (seen**2).sum(axis=0)[:, None] + (own**2).sum(axis=0)[None] - 2 * seen.T @ own
    return _assigned(cost)


def order_penalty(order: Order, answers: Answers, *, usual: bool) -> float:
    """Nats that an order must earn beyond the labels' own: more, the more orders there are to choose from."""
    if usual:
        return 4.0
    return 4.0 + min(math.lgamma(len(order) + 1), 40.0)


def is_own(order: Order) -> bool:
    """Whether every logit stands under its own label."""
    return order == tuple(range(len(order)))


def _assigned(cost: NDArray[np.float64]) -> Order:
    count = len(cost)
    order = [-1] * count
    taken = np.zeros(count, bool)
    # Of equal costs the label's own logit first.
    ranked = np.argsort(cost - 1e-9 * np.abs(cost).max(initial=1.0) * np.eye(count), axis=None, kind="stable")
    left = count
    for place in ranked.tolist():
        label, logit = divmod(place, count)
        if order[label] < 0 and not taken[logit]:
            order[label], taken[logit] = logit, True
            left -= 1
            if not left:
                break
    return tuple(order)


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values - values.mean(axis=1, keepdims=True)
    return found


def _base(text: str) -> str:
    """Without accents, as a locale sorts first."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
