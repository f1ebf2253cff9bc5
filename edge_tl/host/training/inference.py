"""A PyTorch model over stored validation images while it trains. Leaves the model as it is.

What a run reports is evaluated elsewhere, from files and through the device's own preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import augment
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.training import distributed

AT_ONCE = 64


def logits(
    model: nn.Module,
    images: Images,
    contract: Preprocess,
    device: torch.device,
    *,
    between: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """float32 `(n, classes)` in evaluation mode over `images` as the contract frames them; the processes share it.

    In float32, as the written weights will be evaluated. Fewer images at once where memory is short; `between` is
    called between them and may raise.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    mine = list(range(distributed.rank(), len(images), distributed.count()))
    parts: list[NDArray[np.float32]] = []
    try:
        with torch.inference_mode():
            done, at_once = 0, AT_ONCE
            while done < len(mine):
                between()
                some = mine[done : done + at_once]
                try:
                    parts.append(_answers(model, torch.stack([images[i] for i in some]), contract, device))
                except RuntimeError as error:
                    if len(some) == 1 or not should_reduce_batch_size(error):
                        raise
                    at_once = len(some) // 2
                    continue
                done += len(some)
    finally:
        for module, training in modes:
            module.training = training
    everyone = distributed.gathered((mine, np.concatenate(parts) if parts else None))
    width = next(rows.shape[1] for _, rows in everyone if rows is not None)
    result = np.empty((len(images), width), np.float32)
    for indices, rows in everyone:
        if rows is not None:
            result[indices] = rows
    return torch.from_numpy(result)


def _answers(
    model: nn.Module, pixels: torch.Tensor, contract: Preprocess, device: torch.device
) -> NDArray[np.float32]:
    inputs = augment.model_inputs(pixels, contract.mean, contract.std, device)
    result: NDArray[np.float32] = model(inputs).float().cpu().numpy()
    return result
