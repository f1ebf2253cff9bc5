"""The head on frozen features: solved where it is linear, trained where it has hidden layers. Moves no backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from edge_tl.device.listener import Listener
from edge_tl.host.images.batches import class_weights
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import HeadRecord
from edge_tl.host.training.job import SplitSamples, TrainingSetup, labels_of
from edge_tl.host.training.linear_head import HeadData, Solution, solve_linear_head
from edge_tl.host.training.mlp_head import train_mlp_head


@dataclass(frozen=True)
class SolvedHead:
    """The layers, what was tried, and the validation accuracy of the best: it chose by it, so it flatters a little."""

    layers: nn.Module
    record: HeadRecord
    val_accuracy: float


def solve_head(setup: TrainingSetup, split: SplitSamples, listener: Listener) -> SolvedHead | None:
    """The best head on the features of `split.train` by those of `split.val`; None where there are no features."""
    features, recipe = setup.features, setup.recipe
    if features is None:
        return None
    labels, classes = labels_of(split.train), len(setup.dataset.labels)
    data = HeadData(
        features.of(split.train),
        labels,
        features.of(split.val),
        labels_of(split.val),
        classes,
        # In full batches, weighing and drawing classes evenly are the same.
        class_weights(labels, classes) if recipe.train.balance != "none" else None,
    )
    if recipe.head.hidden:
        layers, tried = train_mlp_head(data, recipe.head, seed=recipe.seed, listener=listener)
        best = max(tried, key=lambda entry: (entry.accuracy, -entry.log_loss))
        record = HeadRecord(epoch=best.epoch, grid=tried)
        return SolvedHead(layers, with_hidden_layers(record, recipe), best.accuracy)
    solution = solve_linear_head(
        data, strengths=recipe.head.C, max_iter=recipe.head.max_iter, listener=listener
    )
    record = HeadRecord(C=solution.chosen, grid=solution.grid)
    return SolvedHead(_linear(solution), record, max(entry.accuracy for entry in solution.grid))


def with_hidden_layers(record: HeadRecord, recipe: Recipe) -> HeadRecord:
    """The record with the hidden layers of the recipe's head, where it has some."""
    if not recipe.head.hidden:
        return record
    return replace(record, hidden=tuple(recipe.head.hidden), dropout=recipe.head.dropout)


def _linear(solution: Solution) -> nn.Linear:
    layer = nn.Linear(solution.weight.shape[1], solution.weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solution.weight))
        layer.bias.copy_(torch.from_numpy(solution.bias))
    return layer
