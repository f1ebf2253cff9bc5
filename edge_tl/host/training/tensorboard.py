"""A listener that writes the figures of a training as TensorBoard scalars. Computes no figure and times no step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_tl.device.errors import MissingExtra
from edge_tl.device.listener import Event, Listener, Silent
from edge_tl.host.listeners import EpochEvent, StepEvent


@contextmanager
def open_tensorboard(folder: Path, *, resume_at_step: int | None = None) -> Iterator[Listener]:
    """Yield a listener that writes every event; the files are complete when the context ends.

    Everything is placed at its step of the run, `(epoch - 1) * steps + step`, an epoch's figures at its last one, so
    that training and validation share an axis. `resume_at_step`: the last step of the checkpoint a resumed run
    starts from; what an earlier process wrote after it is dropped. Raises `MissingExtra`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard") from None

    # TensorBoard drops this step and all later ones.
    purge = None if resume_at_step is None else resume_at_step + 1
    writer: Any = SummaryWriter(str(folder), purge_step=purge)
    try:
        yield _Scalars(writer)
    finally:
        writer.close()


class _Scalars(Silent):
    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._steps = 1  # in an epoch

    def event(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            self._steps = event.steps
            figures = {"loss/train": event.loss, "lr": event.lr, "speed/images_per_s": event.images_per_s}
            self._write(figures, (event.epoch - 1) * event.steps + event.step)
        elif isinstance(event, EpochEvent) and not event.earlier:  # the process that trained them wrote those
            epoch = event.record
            figures_at_end = {"loss/val": epoch.val_loss, "accuracy/val": epoch.val_accuracy}
            self._write(figures_at_end, epoch.epoch * self._steps)
            self._writer.flush()  # a kill costs no finished epoch

    def _write(self, figures: Mapping[str, float | None], at: int) -> None:
        for tag, value in figures.items():
            if value is not None:
                self._writer.add_scalar(tag, value, at)
