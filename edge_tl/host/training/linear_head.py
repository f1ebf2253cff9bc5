"""The linear classifier on frozen features, solved to its optimum. Sees no images.

Multinomial logistic regression with an L2 penalty, by L-BFGS, on standardized features; the standardization is
folded into the layer's weights, so the exported model is one linear layer. The penalty is the one with the best
validation accuracy. PyTorch's L-BFGS, because PyTorch is loaded anyway and scikit-learn's import costs seconds;
a test holds the solution against scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.runs.record import TriedHead

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_SLICE = 4096


@dataclass(frozen=True)
class HeadData:
    """What a head is solved on: float32 `(n, d)` features and int64 `(n,)` labels of the training and the validation
    images. `class_weights`, float32 `(classes,)`, are scikit-learn's `class_weight`."""

    features: Floats
    labels: Labels
    val_features: Floats
    val_labels: Labels
    classes: int
    class_weights: torch.Tensor | None = None


@dataclass(frozen=True)
class StandardizedData:
    """The same as tensors, the features standardized by the training images' `scaling`."""

    scaling: Scaling
    train: torch.Tensor
    labels: torch.Tensor
    val: torch.Tensor
    val_labels: torch.Tensor
    class_weights: torch.Tensor | None

    @classmethod
    def of(cls, data: HeadData) -> StandardizedData:
        """The standardized data."""
        scaling = Scaling.of(data.features)
        return cls(
            scaling,
            torch.from_numpy(scaling(data.features)),
            torch.from_numpy(data.labels),
            torch.from_numpy(scaling(data.val_features)),
            torch.from_numpy(data.val_labels),
            data.class_weights,
        )

    def scores(self, val_logits: torch.Tensor) -> tuple[float, float]:
        """Accuracy and log loss (nats) of logits `(n, classes)` on the validation images."""
        accuracy = float((val_logits.argmax(1) == self.val_labels).double().mean())
        return accuracy, float(cross_entropy(val_logits, self.val_labels))


@dataclass(frozen=True)
class Solution:
    """`weight` `(classes, d)` and `bias` `(classes,)` of the linear layer; `grid` what was tried."""

    weight: Floats
    bias: Floats
    chosen: float
    grid: tuple[TriedHead, ...]

    def answers(self, features: Floats) -> Labels:
        """`(n, d)` features to `(n,)` class indices."""
        result: Labels = (features @ self.weight.T + self.bias).argmax(axis=1)
        return result


@dataclass(frozen=True)
class Scaling:
    """Mean and scale of each feature, float64 `(d,)`; calling it standardizes float32 `(n, d)`, a slice at a time,
    so that a large set is in memory once, not four times."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, features: Floats) -> Scaling:
        """Two passes over slices, in float64."""
        slices = [features[i : i + _SLICE] for i in range(0, len(features), _SLICE)]
        mean = sum(s.sum(axis=0, dtype=np.float64) for s in slices) / len(features)
        variance = sum(np.square(s - mean).sum(axis=0) for s in slices) / len(features)
        deviation = np.sqrt(variance)
        # A feature that never moves carries nothing.
        return cls(mean, np.where(deviation > 1e-6, deviation, 1.0))

    def __call__(self, features: Floats) -> Floats:
        result = np.empty(features.shape, np.float32)
        for i in range(0, len(features), _SLICE):
            result[i : i + _SLICE] = (features[i : i + _SLICE] - self.mean) / self.scale
        return result

    def folded(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[Floats, Floats]:
        """The layer that does to raw features what `weight` `(k, d)`, `bias` `(k,)` do to standardized ones."""
        raw = weight.detach().numpy().astype(np.float64) / self.scale
        return raw.astype(np.float32), (bias.detach().numpy() - raw @ self.mean).astype(np.float32)


def solve_linear_head(
    data: HeadData, *, strengths: Sequence[float], max_iter: int = 500, listener: Listener = SILENT
) -> Solution:
    """Fit one classifier per inverse penalty strength, smallest first, each from the one before; keep the best.

    The objective is scikit-learn's: `C * sum(cross entropy) + |W|^2 / 2`, the bias not penalized. The path ends early
    once three strengths in a row have not improved on the best. Equal accuracies, common on a small validation set,
    are decided by the log loss.
    """
    known = StandardizedData.of(data)
    weight = torch.zeros(data.classes, known.train.shape[1], requires_grad=True)
    bias = torch.zeros(data.classes, requires_grad=True)
    best: tuple[Floats, Floats, float] | None = None
    best_score, since = (-1.0, 0.0), 0
    grid: list[TriedHead] = []
    order = sorted(strengths)
    for done, strength in enumerate(order):
        listener.progress("head", done, len(order))
        iterations = _minimize(weight, bias, known, strength, max_iter)
        with torch.no_grad():
            accuracy, loss = known.scores(known.val @ weight.T + bias)
        grid.append(TriedHead(C=strength, accuracy=accuracy, log_loss=loss, iterations=iterations))
        since += 1
        if (accuracy, -loss) > best_score:
            best_score, since = (accuracy, -loss), 0
            best = *known.scaling.folded(weight, bias), strength
        if since >= 3:
            break
    listener.progress("head", len(order), len(order))
    assert best is not None
    return Solution(*best, tuple(grid))


def _minimize(
    weight: torch.Tensor, bias: torch.Tensor, data: StandardizedData, strength: float, max_iter: int
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
        penalty = rows * weight.square().sum() / (2 * strength * len(data.train))
        logits = data.train @ weight.T + bias
        each = cross_entropy(logits, data.labels, data.class_weights, reduction="sum")
        loss = each / len(data.train) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return int(optimizer.state[weight]["n_iter"])
