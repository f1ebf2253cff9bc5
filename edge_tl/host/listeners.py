"""The events of a listener: steps and epochs of a training, steps of remote devices."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.listener import Event
from edge_tl.host.runs.record import EpochRecord


@dataclass(frozen=True)
class StepEvent(Event):
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
class EpochEvent(Event):
    """One epoch of a training has ended."""

    record: EpochRecord
    earlier: bool = False
    """It ended before this process resumed the training."""


@dataclass(frozen=True)
class DeviceEvent(Event):
    """The remote device `name` has come to `step`, e.g. "copy"; `detail` is for a person, or empty."""

    name: str
    step: str
    detail: str
