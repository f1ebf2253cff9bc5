"""What training minimizes: cross entropy of one output or of two; moves no weights."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

# Weight of an auxiliary head's loss (Szegedy et al., "Going Deeper with Convolutions", 2015).
_AUXILIARY = 0.4


def per_image(
    answer: torch.Tensor | tuple[torch.Tensor, ...],
    expected: torch.Tensor,
    class_weights: torch.Tensor | None,
    smoothing: float,
) -> torch.Tensor:
    """float32 `(n,)` from logits `(n, classes)`, with those of an auxiliary head beside them where the model has one,
    and targets int64 `(n,)` or float `(n, classes)`."""
    outputs = answer if isinstance(answer, tuple) else (answer,)
    losses = [
        cross_entropy(each.float(), expected, class_weights, reduction="none", label_smoothing=smoothing)
        for each in outputs
    ]
    total = losses[0]
    for other in losses[1:]:
        total = total + _AUXILIARY * other
    return total
