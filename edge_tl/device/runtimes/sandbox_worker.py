"""One model opened and run once in a process with limits; its one argument is a `SandboxSpec`, and it prints JSON.

`sandbox` limits the time. The limit of memory is Linux's RLIMIT_DATA, which counts what a process may
write to and not what its libraries merely reserve; other systems have none that holds.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import spawn
from edge_tl.device.errors import BadInput, BundleError, MissingExtra
from edge_tl.device.machine import cores_allowed
from edge_tl.device.runtimes.base import load_error_text
from edge_tl.device.runtimes.families import BY_SUFFIX
from edge_tl.device.runtimes.open import import_runtime
from edge_tl.device.runtimes.sandbox import SandboxAnswer, SandboxSpec

_FAR, _BRIGHT = 10.0, 3.0  # white is 2.64 by ImageNet's mean and deviation, black -2.12
_SIZES = ((1, 1), (3, 200), (480, 640), (1080, 1920), (211, 157))
_USUAL = 224  # the size of a model that leaves it open, where none is given
_STACK = 16 << 20  # of each thread that a runtime starts
_FILES = 64 << 20  # written by a runtime; none should be
_ENGINES = 1 << 30  # written by a compiler, see `engine_cache`
# Of a library that has no exception of its own for it.
_OUT_OF_MEMORY = (
    "bad_alloc", "bad allocation", "failed to allocate", "out of memory", "cannot allocate memory", "out of range of",
)  # fmt: skip


def main() -> None:
    """Limit this process, run the model, and print why that fails."""
    answers = spawn.private_stdout()
    spec = SandboxSpec.from_json(json.loads(sys.argv[1]))
    path = Path(spec.path)
    try:
        import_runtime(path.suffix)
        _limit(spec.megabytes, _FILES if spec.device.upper() == "CPU" else _ENGINES)
        answer = _run(path, spec.device, spec.size)
    except MissingExtra as error:
        answer = SandboxAnswer(elsewhere=str(error))
    except BundleError as error:
        answer = SandboxAnswer(str(error), _is_out_of_memory(error.__context__, path))
    except BadInput as error:  # no such device here
        answer = SandboxAnswer(elsewhere=str(error))
    except MemoryError:
        answer = SandboxAnswer("out of memory", True)
    answers.write("\n" + json.dumps(answer.to_json()) + "\n")
    answers.flush()
    os._exit(0)  # without waiting for a runtime's threads


def _run(path: Path, device: str, size: tuple[int, int] | None) -> SandboxAnswer:
    """Run zeros, noise and extremes; the reason is None where all give logits. Raises as opening the model does.

    A loop may run for ever for some inputs alone, and no test finds them all: these are the ends of what pixels become.
    """
    runtime = BY_SUFFIX[path.suffix].load()(path, device=device, threads=cores_allowed(), allow_fallback=True)
    given = _pixels(runtime.shape) if runtime.takes_pixels else _tensors(runtime.shape, size)
    try:
        for inputs in given:
            runtime(inputs)
    except MemoryError:
        raise
    except Exception as error:  # a runtime raises anything
        said = load_error_text(error, path)[:300]
        reason = f"{path.name} loads, but does not run: {said}. Export it again."
        return SandboxAnswer(reason, _is_out_of_memory(error, path))
    return SandboxAnswer()


def _tensors(known: Sequence[int | None], size: tuple[int, int] | None) -> Iterator[NDArray[Any]]:
    height, width = size or (_USUAL, _USUAL)
    shape = [one or usual for one, usual in zip(known, (1, 3, height, width), strict=True)]
    noise = np.random.default_rng(0).uniform(-2, 2, shape)
    ramp = np.linspace(-_FAR, _FAR, math.prod(shape)).reshape(shape)
    for inputs in (np.zeros(shape), noise, ramp, np.full(shape, _BRIGHT), np.full(shape, -_BRIGHT)):
        yield inputs.astype(np.float32)


def _pixels(known: Sequence[int | None]) -> Iterator[NDArray[Any]]:
    """Of several sizes, since a model of raw pixels takes any: noise, black and white."""
    for size in _SIZES:
        shape = [one or usual for one, usual in zip(known, (1, *size, 3), strict=True)]
        yield np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    yield np.zeros(shape, np.uint8)
    yield np.full(shape, 255, np.uint8)


def _is_out_of_memory(error: BaseException | None, path: Path) -> bool:
    """Whether the library ran out of memory, by its own words: the file's name is not among them."""
    said = str(error or "").replace(str(path), "").replace(path.name, "").lower()
    return isinstance(error, MemoryError) or any(word in said for word in _OUT_OF_MEMORY)


def _limit(megabytes: float, files: int = _FILES) -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (files, files))
        if sys.platform == "linux":
            most = _written_to() + int(megabytes * (1 << 20)) + _STACK * cores_allowed()
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _written_to() -> int:
    """Bytes that this process may write to now (VmData)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
