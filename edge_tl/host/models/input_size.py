"""Which image sizes a network can take. Builds and trains nothing."""

from __future__ import annotations

import torch
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host.models.timm_models import TIMM
from edge_tl.host.models.zoo import zoo_entry

VGG_LEAST = 64  # below it the exporter refuses the pooling, after a whole training


def check_size(name: str, side: int) -> None:
    """Raises `BadInput` when images of `side` pixels vanish on their way through the network."""
    if name.startswith("vgg") and side < VGG_LEAST:
        raise BadInput(
            f"image size {side}: {name} cannot be exported below {VGG_LEAST} pixels. Give a larger one."
        )
    smallest = 1 if name.startswith(TIMM) else zoo_entry(name).imagenet.meta["min_size"][0]
    if side < smallest:
        raise BadInput(f"image size {side}: {name} needs at least {smallest} pixels. Give a larger one.")


def check_takes_size(model: nn.Module, name: str, side: int) -> None:
    """Raises `BadInput`, with the sizes that it takes, when `model` fails on an image of `side` pixels: a vision
    transformer's position embeddings are made for one size. Shapes only; it computes nothing."""
    why = _fault(model, side)
    if why is None:
        return
    try:  # what cannot be followed without numbers is computed
        with torch.inference_mode():
            model(torch.zeros(1, 3, side, side))
        return
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        why = _words(error)
    taken = [size for size in range(32, 513, 16) if _fault(model, size) is None]
    sizes = f"It takes {_listed(taken)}." if taken else "Leave --image-size out."
    raise BadInput(f"image size {side}: {name} cannot take it ({why}). {sizes}")


def _fault(model: nn.Module, side: int) -> str | None:
    """What a forward pass of shapes alone raises."""
    shapes = {
        key: torch.empty_like(value, device="meta")
        for key, value in (*model.named_parameters(), *model.named_buffers())
    }
    try:
        with torch.no_grad():
            torch.func.functional_call(model, shapes, torch.empty(1, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError, ValueError, IndexError, NotImplementedError) as error:
        return _words(error)
    return None


def _words(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _listed(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "") + " pixels"
