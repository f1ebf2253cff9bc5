"""BatchNorm's statistics where a batch is too small for them, and where several processes share one. Trains nothing.

In training BatchNorm normalizes by the mean and variance of what goes through at once. One value a channel has no
variance; four images in each of eight processes have eight poor ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

_BatchNorm = nn.modules.batchnorm._BatchNorm
_MOMENTUM = 0.1
FEW = 16
"""Fewer images than this make poor statistics."""


def trained(model: nn.Module) -> list[nn.Module]:
    """The layers whose statistics move in the mode that the model is in."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]


def follow_quickly(model: nn.Module) -> None:
    """Let statistics follow at PyTorch's default rate at least: random weights move far, and the 0.01 that some
    architectures set needs thousands of steps."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, _MOMENTUM)


def let_single_values_through(model: nn.Module) -> Callable[[], None]:
    """Where a layer is given one value a channel (one image, one position) it takes its running statistics, as in
    evaluation, where PyTorch raises. Returns what takes this back."""
    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            handles.append(module.register_forward_pre_hook(_before))
            handles.append(module.register_forward_hook(_after, always_call=True))

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def _before(module: nn.Module, args: tuple[torch.Tensor]) -> None:
    values = args[0]
    if isinstance(module, nn.SyncBatchNorm):  # the others' values count too, and they wait for this one's
        return
    if module.training and values.numel() == values.shape[1]:
        module.training = False
        module._single_value = True  # type: ignore[assignment]


def _after(module: nn.Module, args: Any, output: Any) -> None:
    if getattr(module, "_single_value", False):
        module.training = True
        del module._single_value


def pieces(shares: Sequence[int], at_once: int) -> int:
    """Into how many pieces every process cuts its share of a batch: as many as the largest needs for at most `at_once`
    images in each, and no more than the smallest can fill. A joint layer waits for all processes at every piece."""
    return max(min(-(-max(shares) // at_once), min(shares)), 1)


@contextmanager
def synchronized(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Where `wanted` the plain layers, and timm's with an activation, estimate their statistics over the batch of all
    processes, which PyTorch can on GPUs. In place: whoever holds a layer holds the same one, and its tensors keep their
    names."""
    joint = _joint() if wanted else {}
    changed = [(module, type(module)) for module in model.modules() if type(module) in joint]
    for module, kind in changed:
        module.__class__ = joint[kind]
        module.process_group = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind
            del module.process_group


def _joint() -> dict[type[nn.Module], type[nn.Module]]:
    """For each kind of layer the one that computes the same over all processes."""
    kinds: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm2d: nn.SyncBatchNorm}
    with suppress(ImportError):  # timm is an extra
        from timm.layers import BatchNormAct2d, SyncBatchNormAct

        kinds[BatchNormAct2d] = SyncBatchNormAct
    return kinds
