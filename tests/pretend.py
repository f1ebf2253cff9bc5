"""A GPU that is not there: PyTorch's own checks of devices, shapes and layouts, without values.

A backward pass asks the driver and cannot be pretended; everything else that moves a tensor can.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses import FakeTensorMode

CUDA = torch.device("cuda")


@contextmanager
def gpu() -> Iterator[None]:
    """What is made in this context is fake, what comes into it becomes so."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def moved(model: nn.Module) -> nn.Module:
    """`model` as `model.to("cuda")` leaves it: parameters and buffers moved, everything else where it is. (`to` itself
    cannot exchange fake parameters.)"""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                fake = parameter.detach().to(CUDA)
                module._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = buffer.to(CUDA)
    return model
