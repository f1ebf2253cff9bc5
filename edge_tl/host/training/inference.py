"""A PyTorch model over stored validation images while it trains; it must not change the model.

What leaves the desk is judged elsewhere, from files and through the device's own preprocessing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.host import processes
from edge_tl.host.images import augment
from edge_tl.host.images.decoded import Images
from edge_tl.target.contract import Preprocess


def logits(
    model: nn.Module, images: Images, contract: Preprocess, device: torch.device, *, bf16: bool = False
) -> torch.Tensor:
    """float32 `(n, classes)` in evaluation mode over `images` as the contract frames them; the processes share it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    mine = list(range(processes.rank(), len(images), processes.count()))
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for some in _chunks(mine, 64):
            pixels = torch.stack([images[i] for i in some])
            parts.append(
                model(augment.as_inputs(pixels, contract.mean, contract.std, device)).float().cpu().numpy()
            )
    for module, training in modes:
        module.training = training
    everyone = processes.gathered((mine, np.concatenate(parts) if parts else None))
    width = next(rows.shape[1] for _, rows in everyone if rows is not None)
    result = np.empty((len(images), width), np.float32)
    for indices, rows in everyone:
        if rows is not None:
            result[indices] = rows
    return torch.from_numpy(result)


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
