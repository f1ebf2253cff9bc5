"""This process among those of one training: who writes, who waits, what all of them know.

It must not train. `torchrun` and `accelerate launch` start the processes and name them in the environment;
Hugging Face Accelerate joins them (gloo on CPUs, NCCL on GPUs). Alone, every function here is a no-op.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from edge_tl.target.machine import cores_allowed

T = TypeVar("T")


def _state() -> Any:
    import torch
    from accelerate import PartialState

    # Without a GPU it must be told to join processes on CPUs; else each would take itself for the only one.
    return PartialState(cpu=not torch.cuda.is_available())


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
    """Threads of this process: its share, where a launcher or a person set `OMP_NUM_THREADS`, else every core it may
    use. More threads than free cores are far slower than one: they wait for each other at every layer."""
    return int(os.environ.get("OMP_NUM_THREADS") or 0) or cores_allowed()


def wait() -> None:
    """Until every process is here."""
    if many():
        _state().wait_for_everyone()


def from_main(make: Callable[[], T]) -> T:
    """What the main process makes, in every process. Must be picklable; where it raises, the launcher ends all."""
    if not many():
        return make()
    from accelerate.utils import broadcast_object_list

    box: list[Any] = [make() if is_main() else None]
    broadcast_object_list(box)
    result: T = box[0]
    return result


def gathered(mine: Any) -> list[Any]:
    """One object from every process, in the order of their ranks, in every process."""
    if not many():
        return [mine]
    from accelerate.utils import gather_object

    result: list[Any] = gather_object([mine])
    return result
