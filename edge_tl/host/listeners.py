"""Who listens to a verb while it works: notes are sentences, events are the steps and epochs of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_tl.host.runs.record import EpochRecord


@dataclass(frozen=True)
class StepEvent:
    """One optimizer step of a training. Epochs and steps count from 1; `loss` is the epoch's mean so far, in nats."""

    stage: str
    epoch: int
    epochs: int
    """Of the whole training, as planned."""
    step: int
    steps: int
    """In an epoch."""
    loss: float
    lr: float
    """The head's."""
    images_per_s: float
    remaining_s: float
    """Until the last epoch has ended, validation included."""


@dataclass(frozen=True)
class EpochEvent:
    """One epoch of a training has ended."""

    record: EpochRecord
    earlier: bool = False
    """It ended before this process resumed the training."""


Note = Callable[[str], None]
Watch = Callable[[StepEvent | EpochEvent], None]


def no_note(text: str) -> None:
    """Say nothing."""


def no_watch(event: StepEvent | EpochEvent) -> None:
    """Show nothing."""
