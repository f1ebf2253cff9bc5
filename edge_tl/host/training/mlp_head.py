"""A head with hidden layers, trained on cached features; it must not see images.

`Linear, ReLU, Dropout` for each hidden width, then a linear layer; AdamW with a cosine over the passes, the epoch
with the best validation accuracy kept. Features are standardized, and the standardization is folded into the first
layer, as for the linear head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.images.batches import Labels
from edge_tl.host.models import architecture
from edge_tl.host.runs.record import TriedHead
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training.head import Floats, Scaling

_BATCH, _LR, _DECAY = 128, 1e-3, 0.01


def train(
    features: Floats,
    labels: Labels,
    val_features: Floats,
    val_labels: Labels,
    *,
    classes: int,
    widths: Sequence[int],
    dropout: float,
    epochs: int,
    seed: int,
    class_weights: torch.Tensor | None = None,
    listener: Listener = SILENT,
) -> tuple[nn.Sequential, tuple[TriedHead, ...]]:
    """The head in evaluation mode, and what each epoch was worth on the validation features.

    Features are float32 `(n, d)`, labels int64 `(n,)`.
    """
    scaling = Scaling.of(features)
    data, target = torch.from_numpy(scaling(features)), torch.from_numpy(labels)
    val, val_target = torch.from_numpy(scaling(val_features)), torch.from_numpy(val_labels)
    torch.manual_seed(derive_seed(seed, "hidden head"))
    head = architecture.make_head(features.shape[1], classes, tuple(widths), dropout)
    assert isinstance(head, nn.Sequential)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=_DECAY)
    steps = epochs * -(-len(data) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, best_score = copy.deepcopy(head), (-1.0, 0.0)
    history: list[TriedHead] = []
    for epoch in range(epochs):
        head.train()
        for some in torch.split(torch.randperm(len(data)), _BATCH):
            optimizer.zero_grad()
            loss = cross_entropy(head(data[some]), target[some], class_weights)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        head.eval()
        with torch.no_grad():
            logits = head(val)
        accuracy = float((logits.argmax(1) == val_target).double().mean())
        log_loss = float(cross_entropy(logits, val_target))
        history.append(TriedHead(epoch=epoch + 1, accuracy=accuracy, log_loss=log_loss))
        if (accuracy, -log_loss) > best_score:
            best, best_score = copy.deepcopy(head), (accuracy, -log_loss)
        listener.progress("head", epoch + 1, epochs)
    first = best[0]
    assert isinstance(first, nn.Linear)
    weight, bias = scaling.folded(first.weight, first.bias)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weight))
        first.bias.copy_(torch.from_numpy(bias))
    return best.eval(), tuple(history)
