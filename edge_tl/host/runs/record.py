"""What a run records of itself, `run.json`, as types. Knows no model and writes no file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training images. Epochs count from 1 over all stages; accuracies are fractions, losses nats;
    `seconds` since the training began; `best`: better than the start and every epoch before."""

    stage: str
    epoch: int
    epochs: int
    """Of the whole training, as planned."""
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    """The head's, after the last step."""
    image_size: int
    """Side of the training images in pixels."""
    images_per_s: float
    seconds: float
    best: bool
