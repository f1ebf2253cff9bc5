"""A backbone as blocks from input to output, for freezing the first or training them slower. Changes no layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from edge_tl.host.models.architecture import AUXILIARY, auxiliary_head, get_head
from edge_tl.host.torchvision_ import tv


def backbone_blocks(model: nn.Module, head: str) -> list[tuple[nn.Module, ...]]:
    """The backbone from input to output, for freezing the first blocks or training them slower.

    Every parameter is in exactly one block, in the head at `head` or in `auxiliary`. Plain containers are
    opened; normalization that stands alone belongs to the block before it.
    """
    groups: list[list[nn.Module]] = []
    for module in _opened(model, "", head):
        if groups and all(p.ndim < 2 for p in module.parameters()):  # scales and shifts only
            groups[-1].append(module)
        else:
            groups.append([module])
    placed = [m for group in groups for m in group] + [
        get_head(model, head),
        auxiliary_head(model) or nn.Identity(),
    ]
    known = {id(p) for m in placed for p in m.parameters()}
    # Parameters of the model itself (a transformer's class token and positions) join its input.
    if loose := [p for p in model.parameters() if id(p) not in known]:
        groups[0].append(nn.ParameterList(loose))
    return [tuple(group) for group in groups]


def _opened(module: nn.Module, path: str, head: str) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        place = f"{path}{name}"
        if place in (head, AUXILIARY):
            continue
        if type(child) in (nn.Sequential, nn.ModuleList, tv.regnet.AnyStage) or head.startswith(f"{place}."):
            yield from _opened(child, f"{place}.", head)
        elif next(child.parameters(), None) is not None:
            yield child
