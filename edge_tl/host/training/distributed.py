"""This process among those of one training: who writes, who waits, what all of them know.

Trains nothing. `torchrun` and `accelerate launch` start the processes and name them in the environment;
Hugging Face Accelerate joins them (gloo on CPUs, NCCL on NVIDIA's GPUs). Alone, every function here is a no-op.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_tl.device.machine import cores_allowed

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_LONGEST_WAIT = timedelta(days=7)


def _state() -> Any:
    from accelerate import PartialState

    from edge_tl.host import accelerator

    # Without a GPU it joins processes only where that is asked for; else each would take itself for the only one.
    return PartialState(cpu=accelerator.device().type == "cpu")


@cache
def _waiting_group() -> Any:
    """The group that waits while one process reads a data set: by gloo, on CPUs, because NCCL gives up after ten
    minutes and ends everybody. Who dies is noticed all the same: its connections close."""
    from torch import distributed

    _state()
    return distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)


def many() -> bool:
    """Whether a launcher started more than this process; cheap, imports nothing."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1


def count() -> int:
    """How many processes take part."""
    return int(_state().num_processes) if many() else 1


def rank() -> int:
    """This process's number, from 0."""
    return int(_state().process_index) if many() else 0


def is_main() -> bool:
    """Whether this process writes files and talks; known before any library is imported."""
    return int(os.environ.get("RANK", "0") or 0) == 0 or not many()


def threads() -> int:
    """Threads of this process: what a person set as `OMP_NUM_THREADS`, else its share of the cores it may use. More
    threads than free cores are far slower than one: they wait for each other at every layer."""
    asked = int(os.environ.get("OMP_NUM_THREADS") or 0)
    if asked and not (asked == 1 and many() and not _asked_by_a_person()):
        return asked
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1) if many() else 1
    return max(cores_allowed() // here, 1)


def _asked_by_a_person() -> bool:
    """Whether `OMP_NUM_THREADS` was there before the launcher: torchrun and accelerate set it to 1 where it is not, for
    their children alone. Where the launcher's own environment cannot be read it counts as theirs."""
    try:
        given = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(entry.startswith(b"OMP_NUM_THREADS=") for entry in given)


def wait() -> None:
    """Until every process is here."""
    if many():
        from torch import distributed

        distributed.barrier(group=_waiting_group())


def from_main(make: Callable[[], T]) -> T:
    """What the main process makes, in every process. Must be picklable; where it raises, the launcher ends all."""
    if not many():
        return make()
    from torch import distributed

    box: list[Any] = [make() if is_main() else None]
    distributed.broadcast_object_list(box, src=0, group=_waiting_group())
    result: T = box[0]
    return result


def gathered(mine: Any) -> list[Any]:
    """One object from every process, in the order of their ranks, in every process."""
    if not many():
        return [mine]
    from torch import distributed

    result: list[Any] = [None] * count()
    distributed.all_gather_object(result, mine, group=_waiting_group())
    return result


def share(tensors: Iterable[torch.Tensor]) -> None:
    """Make these tensors, alike in shape everywhere and on the device that trains, the main process's."""
    if many():
        from torch import distributed

        _state()
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)
