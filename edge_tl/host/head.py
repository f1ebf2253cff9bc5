"""The linear classifier on frozen features, solved to its optimum instead of crept up on; it must not see images.

Multinomial logistic regression with an L2 penalty, by L-BFGS, on standardized features; the standardization is
folded into the layer's weights, so the exported model is one linear layer. The penalty is the one with the best
validation accuracy. PyTorch's L-BFGS, because PyTorch is loaded anyway and scikit-learn's import costs seconds;
a test holds the solution against scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from edge_tl.target import compare
from edge_tl.target.progress import Progress, no_progress

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """`weight` `(classes, d)` and `bias` `(classes,)` of the linear layer; `grid` what was tried."""

    weight: Floats
    bias: Floats
    chosen: float
    grid: list[dict[str, float]]

    def answers(self, features: Floats) -> Labels:
        """`(n, d)` features to `(n,)` class indices."""
        result: Labels = (features @ self.weight.T + self.bias).argmax(axis=1)
        return result


def solve(
    features: Floats,
    labels: Labels,
    val_features: Floats,
    val_labels: Labels,
    *,
    classes: int,
    strengths: Sequence[float],
    max_iter: int = 500,
    progress: Progress = no_progress,
) -> Solution:
    """Fit one classifier per inverse penalty strength, smallest first, each from the one before; keep the best.

    The objective is scikit-learn's: `C * sum(cross entropy) + |W|^2 / 2`, the bias not penalized. The path ends
    early once three strengths in a row have not improved on the best. Equal accuracies, common on a small
    validation set, are decided by the log loss.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-6, deviation, 1.0)  # a feature that never moves carries nothing

    def standardized(raw: Floats) -> torch.Tensor:
        return torch.from_numpy(((raw - mean) / scale).astype(np.float32))

    train, val = standardized(features), standardized(val_features)
    target, val_target = torch.from_numpy(labels), torch.from_numpy(val_labels)
    weight = torch.zeros(classes, train.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    best: Solution | None = None
    best_score, since = (-1.0, 0.0), 0
    grid: list[dict[str, float]] = []
    order = sorted(strengths)
    for done, strength in enumerate(order):
        progress("head", done, len(order))
        iterations = _minimize(weight, bias, train, target, strength, max_iter)
        with torch.no_grad():
            logits = val @ weight.T + bias
            accuracy = float((logits.argmax(1) == val_target).double().mean())
            loss = float(cross_entropy(logits, val_target))
        grid.append({"C": strength, "accuracy": accuracy, "log_loss": loss, "iterations": iterations})
        since += 1
        if (accuracy, -loss) > best_score:
            best_score, since = (accuracy, -loss), 0
            best = Solution(*_folded(weight, bias, mean, scale), strength, grid)
        if since >= 3:
            break
    progress("head", len(order), len(order))
    assert best is not None
    return best


def _minimize(
    weight: torch.Tensor,
    bias: torch.Tensor,
    features: torch.Tensor,
    labels: torch.Tensor,
    strength: float,
    max_iter: int,
) -> int:
    """Move `weight` and `bias` to the optimum in place, from where they are; the number of iterations."""
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iter,
        tolerance_grad=1e-5,
        tolerance_change=1e-10,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    # Two classes share one direction in two rows; scikit-learn penalizes it once, as a difference.
    rows = 2 if len(weight) == 2 else 1

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = rows * weight.square().sum() / (2 * strength * len(features))
        loss = cross_entropy(features @ weight.T + bias, labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return int(optimizer.state[weight]["n_iter"])


def _folded(weight: torch.Tensor, bias: torch.Tensor, mean: Any, scale: Any) -> tuple[Floats, Floats]:
    """The layer that does to raw features what the solution does to standardized ones."""
    raw = weight.detach().numpy().astype(np.float64) / scale
    return raw.astype(np.float32), (bias.detach().numpy() - raw @ mean).astype(np.float32)


def metrics(labels: Labels, answers: Labels, names: list[str]) -> dict[str, Any]:
    """Accuracy, macro F1, precision, recall and F1 per class, and the confusion matrix `[label][answer]`.

    A class that is never answered has precision 0, one without images recall 0, as scikit-learn's
    `zero_division=0`.
    """
    table = compare.confusion(labels, answers, len(names))
    matrix = np.array(table, np.float64)
    right, true, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + said, 1)
    return {
        "accuracy": compare.accuracy(labels, answers),
        "macro_f1": float(f1.mean()),
        "per_class": [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(names, precision, recall, f1, true, strict=True)
        ],
        "confusion": table,
    }
