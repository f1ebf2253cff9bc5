"""A head with hidden layers, trained on cached features. Sees no images.

`Linear, ReLU, Dropout` for each hidden width, then a linear layer; AdamW with a cosine over the epochs, the epoch
with the best validation accuracy kept. Features are standardized, and the standardization is folded into the first
layer, as for the linear head.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.models import architecture
from edge_tl.host.recipe.schema import Head
from edge_tl.host.runs.record import TriedHead
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training.linear_head import HeadData, StandardizedData

_BATCH, _LR, _DECAY = 128, 1e-3, 0.01


def train_mlp_head(
    data: HeadData, settings: Head, *, seed: int, listener: Listener = SILENT
) -> tuple[nn.Sequential, tuple[TriedHead, ...]]:
    """The head of the best epoch, in evaluation mode, and what each epoch was worth on the validation features.
    `settings` gives `hidden` widths, `dropout` and `epochs`."""
    known = StandardizedData.of(data)
    torch.manual_seed(derive_seed(seed, "hidden head"))
    width = data.features.shape[1]
    head = architecture.make_head(width, data.classes, tuple(settings.hidden), settings.dropout)
    assert isinstance(head, nn.Sequential)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=_DECAY)
    steps = settings.epochs * -(-len(known.train) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, best_score = copy.deepcopy(head), (-1.0, 0.0)
    tried: list[TriedHead] = []
    for epoch in range(settings.epochs):
        head.train()
        for batch in torch.split(torch.randperm(len(known.train)), _BATCH):
            optimizer.zero_grad()
            loss = cross_entropy(head(known.train[batch]), known.labels[batch], data.class_weights)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        head.eval()
        with torch.no_grad():
            accuracy, log_loss = known.scores(head(known.val))
        tried.append(TriedHead(epoch=epoch + 1, accuracy=accuracy, log_loss=log_loss))
        if (accuracy, -log_loss) > best_score:
            best, best_score = copy.deepcopy(head), (accuracy, -log_loss)
        listener.progress("head", epoch + 1, settings.epochs)
    _fold_scaling(best, known)
    return best.eval(), tuple(tried)


def _fold_scaling(head: nn.Sequential, data: StandardizedData) -> None:
    """Make the first layer read features as they are, in place."""
    first = head[0]
    assert isinstance(first, nn.Linear)
    weight, bias = data.scaling.folded(first.weight, first.bias)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weight))
        first.bias.copy_(torch.from_numpy(bias))
