"""The events of a training as TensorBoard scalars in files of a folder. Computes no figure and times no step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_tl.device.errors import MissingExtra
from edge_tl.host.listeners import EpochEvent, StepEvent, Watch


@contextmanager
def open_events(folder: Path, *, resume_at_step: int | None = None) -> Iterator[Watch]:
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
    steps = 1

    def write(scalars: dict[str, float | None], at: int) -> None:
        for tag, value in scalars.items():
            if value is not None:
                writer.add_scalar(tag, value, at)

    def watch(event: StepEvent | EpochEvent) -> None:
        nonlocal steps
        if isinstance(event, StepEvent):
            steps = event.steps
            speed = {"speed/images_per_s": event.images_per_s}
            write({"loss/train": event.loss, "lr": event.lr, **speed}, (event.epoch - 1) * steps + event.step)
        elif not event.earlier:  # those were written by the process that trained them
            epoch = event.record
            write({"loss/val": epoch.val_loss, "accuracy/val": epoch.val_accuracy}, epoch.epoch * steps)
            writer.flush()  # a kill costs no finished epoch

    try:
        yield watch
    finally:
        writer.close()
