"""How batches come from the workers to the training where shared memory is scarce. Reads no image.

PyTorch's workers hand over tensors in /dev/shm. A container often has 64 MB of it, and where it runs out the worker's
batch is lost and the training waits for it for ever (pytorch #5040). What is too much for it goes through pipes, which
cost a copy and no shared memory.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.format import megabytes

FOLDER = Path("/dev/shm")
AHEAD = 3
"""Batches that each worker makes ahead."""
_LEAST = 1 << 20  # of the semaphores that every queue between processes needs


@dataclass(frozen=True)
class Handover:
    """So many `workers`, whose batches come through pipes or shared memory; `note` says what was changed, and why."""

    workers: int
    pipes: bool = False
    note: str = ""


def free() -> int | None:
    """Bytes free in /dev/shm, or None where workers do not use it (macOS, Windows)."""
    if sys.platform != "linux":
        return None
    return shutil.disk_usage(FOLDER).free if FOLDER.is_dir() else 0


def plan_handover(workers: int, batch_bytes: int, *, processes: int = 1) -> Handover:
    """How `processes` trainings on this machine, with `workers` each, can make batches of `batch_bytes` ahead."""
    have = free()
    if not workers or have is None:
        return Handover(workers)
    need = processes * (workers * AHEAD + 2) * batch_bytes
    if have < _LEAST:
        return Handover(
            0,
            note=f"{FOLDER} has {megabytes(have, 0)} free: no workers, images are augmented in turn. {_ADVICE}",
        )
    if need > have // 2:  # others use it as well
        return Handover(
            workers,
            pipes=True,
            note=f"{FOLDER} has {megabytes(have, 0)} free, the batches of {processes * workers} workers take up to "
            f"{megabytes(need, 0)}: they come through pipes, a little slower. {_ADVICE}",
        )
    return Handover(workers)


_ADVICE = "A container gets more with docker run --shm-size=1g."
