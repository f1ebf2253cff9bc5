"""The events of a training as TensorBoard scalars in files of a folder; it must not compute a figure or a step's time.

An event is what `train` gives its watcher: `{"kind": "step", …}` or `{"kind": "epoch", …}`, with epochs
counted from 1 over the whole run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_tl.device.errors import MissingExtra
from edge_tl.host.listeners import Watch

STEP = {"loss": "loss/train", "lr": "lr", "images_per_s": "speed/images_per_s"}
EPOCH = {"val_loss": "loss/val", "val_accuracy": "accuracy/val"}


@contextmanager
def open_events(folder: Path, *, resume_at_step: int | None = None) -> Iterator[Watch]:
    """Yield a watcher that writes every event; the files are complete when the context ends.

    Everything is placed at its step of the run, `(epoch - 1) * steps + step`, an epoch's figures at its last one, so
    that training and validation share an axis. `resume_at_step`: the last step of the checkpoint a resumed run
    starts from; what an earlier process drew after it is not drawn twice. Raises `MissingExtra`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard") from None

    # TensorBoard drops this step and all later ones.
    purge = None if resume_at_step is None else resume_at_step + 1
    writer: Any = SummaryWriter(str(folder), purge_step=purge)
    steps = 1

    def watch(event: dict[str, Any]) -> None:
        nonlocal steps
        if event.get("earlier"):  # drawn by the process that trained it
            return
        step = event["kind"] == "step"
        steps = event.get("steps", steps)
        at = (event["epoch"] - 1) * steps + event["step"] if step else event["epoch"] * steps
        for key, tag in (STEP if step else EPOCH).items():
            if event.get(key) is not None:
                writer.add_scalar(tag, event[key], at)
        if not step:
            writer.flush()  # a kill costs no finished epoch

    try:
        yield watch
    finally:
        writer.close()
