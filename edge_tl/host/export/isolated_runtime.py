"""Artifacts that run in a process of their own: what ends that is a fault of the artifact, not the end of an export."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.runtimes.open import Logits, Runtime, open_runtime
from edge_tl.host.convert.many_images import ManyImages, open_many
from edge_tl.host.isolated import IsolatedProcess

_SILENT_S = 1800.0
"""Seconds that opening a file, or the answers to one batch, may take."""
_OPENED: dict[tuple[str, int], _OpenFile] = {}


class IsolatedRuntime:
    """A `Runtime` of the file at `path` in `process`, opened again where that had to be started anew."""

    name = "isolated"

    def __init__(self, path: Path, process: IsolatedProcess) -> None:
        self.path = path
        self._process = process
        facts = process.call(_facts, path, seconds=_SILENT_S)
        self.version, self.device, self.threads, self.precision = facts

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        given = _place(inputs) or np.ascontiguousarray(inputs)
        return self._process.call(_infer, self.path, given, seconds=_SILENT_S)


class _Place(NamedTuple):
    """Where a file holds float32 numbers: they need not go through a pipe."""

    path: str
    offset: int
    shape: tuple[int, ...]

    def read(self) -> NDArray[np.float32]:
        return np.memmap(self.path, np.float32, "r", self.offset, self.shape)


def _place(inputs: NDArray[np.float32]) -> _Place | None:
    if not isinstance(inputs, np.memmap) or inputs.filename is None:
        return None
    if inputs.dtype != np.float32 or not inputs.flags.c_contiguous:
        return None
    whole = inputs.base if isinstance(inputs.base, np.memmap) else inputs
    offset = whole.offset + inputs.ctypes.data - whole.ctypes.data
    return _Place(str(inputs.filename), offset, inputs.shape)


@dataclass
class _OpenFile:
    """A model file, opened when it is first asked: as the device will run it, and for many images."""

    path: Path

    @cached_property
    def one(self) -> Runtime:
        return open_runtime(self.path)

    @cached_property
    def many(self) -> ManyImages:
        return open_many(self.path)


def _opened(path: Path) -> _OpenFile:
    """Kept open; a file that was written anew is opened anew."""
    key = str(path), path.stat().st_mtime_ns
    if key not in _OPENED:
        for old in [each for each in _OPENED if each[0] == key[0]]:
            del _OPENED[old]
        _OPENED[key] = _OpenFile(path)
    return _OPENED[key]


class _Facts(NamedTuple):
    version: str
    device: str
    threads: int
    precision: str


def _facts(path: Path) -> _Facts:
    runtime = _opened(path).one
    return _Facts(runtime.version, runtime.device, runtime.threads, runtime.precision)


def _infer(path: Path, given: NDArray[np.float32] | _Place) -> Logits:
    opened = _opened(path)
    inputs = given.read() if isinstance(given, _Place) else given
    return opened.one(np.array(inputs)) if len(inputs) == 1 else opened.many(inputs)
