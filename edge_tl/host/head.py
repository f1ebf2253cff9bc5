"""The linear classifier on frozen features, solved to its optimum instead of crept up on; it must not see images.

Multinomial logistic regression with an L2 penalty, by L-BFGS (scikit-learn), on standardized features; the
standardization is folded into the layer's weights, so the exported model is one linear layer. The penalty is
the one with the best validation accuracy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.target.verify import Progress, no_progress

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
    strengths: Sequence[float],
    max_iter: int = 500,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Solution:
    """Fit one classifier per inverse strength, weakest fit first, each from the one before; keep the best.

    The path ends early once three strengths in a row have not improved on the best. Equal accuracies, common
    on a small validation set, are decided by the log loss.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-6, deviation, 1.0)  # a feature that never moves carries nothing
    train = ((features - mean) / scale).astype(np.float32)
    val = ((val_features - mean) / scale).astype(np.float32)
    model = LogisticRegression(solver="lbfgs", max_iter=max_iter, warm_start=True, random_state=seed)
    best: Solution | None = None
    best_score, since = (-1.0, 0.0), 0
    grid: list[dict[str, float]] = []
    order = sorted(strengths)
    for done, strength in enumerate(order):
        progress("head", done, len(order))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # recorded below instead
            model.set_params(C=strength).fit(train, labels)
        probabilities = model.predict_proba(val)
        accuracy = float(np.mean(model.classes_[probabilities.argmax(axis=1)] == val_labels))
        loss = float(log_loss(val_labels, probabilities, labels=model.classes_))
        iterations = int(model.n_iter_[0])
        grid.append({"C": strength, "accuracy": accuracy, "log_loss": loss, "iterations": iterations})
        since += 1
        if (accuracy, -loss) > best_score:
            best_score, since = (accuracy, -loss), 0
            best = Solution(*_folded(model.coef_, model.intercept_, mean, scale), strength, grid)
        if since >= 3:
            break
    progress("head", len(order), len(order))
    assert best is not None
    return best


def _folded(coefficients: Any, intercept: Any, mean: Any, scale: Any) -> tuple[Floats, Floats]:
    """The layer that does to raw features what the solution does to standardized ones."""
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the difference of the logits
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    weight = coefficients / scale
    return weight.astype(np.float32), (intercept - weight @ mean).astype(np.float32)


def metrics(labels: Labels, answers: Labels, names: list[str]) -> dict[str, Any]:
    """Accuracy, macro F1, precision, recall and F1 per class, and the confusion matrix `[label][answer]`."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    index = list(range(len(names)))
    precision, recall, f1, count = precision_recall_fscore_support(
        labels, answers, labels=index, zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(labels, answers)),
        "macro_f1": float(np.mean(f1)),
        "per_class": [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(names, precision, recall, f1, count, strict=True)
        ],
        "confusion": confusion_matrix(labels, answers, labels=index).tolist(),
    }
