"""What a training is given, and where it is: the records that the loop and its callers share; no logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.batches import Labels
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import BatchNormMode, EpochRecord, PrecisionRecord
from edge_tl.host.training.features import Features
from edge_tl.host.training.strategy import Blocks, Stage

# Accuracy on a small set moves in steps; a loss that is this much lower shows that there is still something to gain.
_NOTICEABLE = 0.005


@dataclass(frozen=True)
class TrainingSetup:
    """What every fit of one run shares: its own split's, and each fold's of a cross-validation. `features` are the
    frozen features of all images, None where no strategy asks for them."""

    recipe: Recipe
    source: PretrainedModel
    dataset: Dataset
    features: Features | None


class SplitSamples(NamedTuple):
    """The images that one fit trains on, and those that choose its regularization and its epoch."""

    train: Sequence[Sample]
    val: Sequence[Sample]


def labels_of(samples: Sequence[Sample]) -> Labels:
    """int64 `(n,)`."""
    return np.array([sample.label for sample in samples], np.int64)


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on what. `train` and `val` give uint8 `(3, h, w)`, `val` as its contract frames it; `names`
    are the training files, for messages; `contract` frames a training image, of five crops one, and `val_contract` an
    image of `val`; `sizes` the training resolution of each epoch in pixels; `batch_norm` is
    "frozen" or "train"; `transferred` whether the backbone's weights come from another training."""

    model: nn.Module
    blocks: Blocks
    stages: list[Stage]
    train: Images
    labels: Labels
    names: Sequence[str]
    val: Images
    val_labels: Labels
    classes: int
    contract: Preprocess
    val_contract: Preprocess
    recipe: Recipe
    sizes: list[int]
    batch_norm: BatchNormMode
    transferred: bool = True


@dataclass
class Position:
    """Where a training is, beside its tensors: everything here is written into the checkpoint."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    steps: int = 0
    """Steps in an epoch."""
    loss_sum: float = 0.0
    micro_batch: int = 0
    micro_batch_asked: int = 0
    """What the recipe said, 0 for nothing; `micro_batch` shrinks from there when memory runs out."""
    precision: PrecisionRecord | None = None
    """Decided before the first step, and kept."""
    rate: float = 1.0
    """Halved once when the loss is no longer a number."""
    best: float | None = None
    """The best validation accuracy; None before the first evaluation."""
    best_epoch: int = 0
    best_sha256: str = ""
    """Of the file with the weights that `best` is the accuracy of."""
    start: float | None = None
    """Validation accuracy before the first epoch."""
    least_loss: float | None = None
    """The lowest validation loss of the stage's epochs, of those that were noticeably lower than the one before."""
    most_accurate: float | None = None
    """The best validation accuracy of the stage's epochs. Not the start's: a training dips under a solved head, and
    gains on it last."""
    since_best: int = 0
    """Epochs since one was better than those of the stage before it, in accuracy or loss."""
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def end_epoch(self, entry: EpochRecord) -> None:
        """Go to the next epoch after the one that `entry` tells of."""
        assert entry.val_loss is not None
        assert entry.val_accuracy is not None
        self.history.append(entry)
        lower = self.least_loss is None or entry.val_loss < self.least_loss * (1 - _NOTICEABLE)
        self.least_loss = entry.val_loss if lower else self.least_loss
        higher = self.most_accurate is None or entry.val_accuracy > self.most_accurate
        self.most_accurate = entry.val_accuracy if higher else self.most_accurate
        self.since_best = 0 if higher or lower else self.since_best + 1
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        if entry.best:
            self.best, self.best_epoch = entry.val_accuracy, self.epoch
