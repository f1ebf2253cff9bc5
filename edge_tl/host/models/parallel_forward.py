"""A PyTorch network over many images on a CPU: a few images on each core in place of all images on all cores.

The activations of four stay in a core's cache, channels last as its convolutions want them, and no core waits for
another after every layer, which costs most where other programs use the cores too (benchmarks/export_stages.py). It
changes no module, and no number beyond the last bits of float32.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.runtimes.open import Logits

_IMAGES = 4
_KNOWN = {"torch", "torchvision", "timm", "edge_tl"}


def forward(model: nn.Module, inputs: NDArray[np.float32], threads: int) -> Logits:
    """float32 `(n, classes)` of float32 `(n, 3, H, W)`, by `model` in evaluation mode on `threads` cores.

    A network of somebody else's modules, or with hooks, runs as it is, on one image set after another: what it keeps
    between its layers may not be a thread's own."""
    known = keeps_nothing(model)
    workers = min(threads, -(-len(inputs) // _IMAGES)) if known else 1
    if workers == 1:
        return _answers(model, inputs, _IMAGES if threads == 1 else max(1, len(inputs)), known)
    size = -(-len(inputs) // workers)
    shares = [inputs[start : start + size] for start in range(0, len(inputs), size)]

    def work(network: nn.Module, share: NDArray[np.float32]) -> Logits:
        torch.set_num_threads(max(1, threads // workers))  # of this thread
        return _answers(network, share, _IMAGES, True)

    try:
        with ThreadPoolExecutor(len(shares)) as pool:
            return np.concatenate(list(pool.map(work, [same_weights(model) for _ in shares], shares)))
    finally:
        torch.set_num_threads(threads)


def same_weights(model: nn.Module) -> nn.Module:
    """Modules of its own around the very tensors of `model`."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def keeps_nothing(model: nn.Module) -> bool:
    """Whether it consists of modules whose forward is known to depend on its input alone."""
    return all(
        type(module).__module__.partition(".")[0] in _KNOWN
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and "forward" not in vars(module)  # somebody's function in place of the class's own
        for module in model.modules()
    )


def _answers(model: nn.Module, inputs: NDArray[np.float32], size: int, known: bool) -> Logits:
    # Somebody's own `view` of an activation needs it channels first.
    layout = torch.channels_last if known else torch.contiguous_format
    with torch.inference_mode():
        some = (torch.from_numpy(inputs[i : i + size]) for i in range(0, len(inputs), size))
        parts = [model(each.to(memory_format=layout)).float().numpy() for each in some]
    return np.concatenate(parts)
