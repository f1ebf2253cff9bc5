"""The exponential moving average of a model's weights while it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def reach(decay: float, steps: int) -> float:
    """`decay`, or less where the average would reach back over more than a fifth of all `steps`: the weights that a
    short training started from must not outweigh those it came to."""
    return min(decay, 1 - 5 / steps)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` that follows it: `average = decay * average + (1 - decay) * weights` at each update, buffers
    too; the first update copies (Polyak and Juditsky, 1992)."""
    return AveragedModel(model, multi_avg_fn=_averaging(decay), use_buffers=True)


def _averaging(decay: float) -> Callable[..., None]:
    """PyTorch's exponential moving average, for numbers with a fraction; counters (BatchNorm's) are copied, where
    PyTorch would average and truncate them, frozen ones too."""
    of_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(average: list[torch.Tensor], current: list[torch.Tensor], done: Any) -> None:
        if average[0].is_floating_point():
            of_floats(average, current, done)
        else:
            for kept, now in zip(average, current, strict=True):
                kept.copy_(now)

    return update
