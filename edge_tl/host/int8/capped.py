"""INT8 candidates under the instruction sets of lesser CPUs, each in a process of its own. Makes and chooses none.

oneDNN reads its cap once, so every cap has a process, which is started for the first candidate that needs it and serves
the later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import CAP_VARIABLE
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.int8.candidate_evaluation import calibrated_expected_drop
from edge_tl.host.int8.records import CappedDrop
from edge_tl.host.isolated import IsolatedProcess


class CappedProcesses:
    """A context manager; `caps` are oneDNN's names, in the order in which they are tried."""

    def __init__(self, caps: Sequence[str]) -> None:
        self._processes = {cap: IsolatedProcess({CAP_VARIABLE: cap}) for cap in caps}

    @property
    def caps(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._processes)

    def process(self, cap: str) -> IsolatedProcess:
        """Where oneDNN is capped so."""
        return self._processes[cap]

    def logits(self, cap: str, path: Path, images: Path, listener: Listener = SILENT) -> Logits:
        """Of the model at `path` on the float32 images `(n, 3, H, W)` in the .npy file `images`. Raises what the
        runtime raises, and `ProcessDied`."""
        return self._processes[cap].call(_logits, path, images, listener=listener)

    def __enter__(self) -> CappedProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.close()


def capped_drop(
    cap: str, logits: Logits, labels: NDArray[np.int64], fp32: Logits, temperature: float
) -> CappedDrop:
    """The record of `logits` that were computed under `cap`; `fp32` and `temperature` are those of a `SelectionSet`.
    Raises `EdgeTLError` for logits that are not numbers."""
    if lost := metrics.not_numbers(logits):
        raise EdgeTLError(f"logits that are not numbers on {lost} of {len(logits)} images")
    expected, answers = metrics.top1(fp32), metrics.top1(logits)
    drop = metrics.paired_drop(labels, expected, answers)
    return CappedDrop(
        cap,
        drop.drop_pp,
        drop.drop_ci_pp,
        calibrated_expected_drop(fp32, temperature, answers).drop_pp,
        metrics.agreement(expected, answers),
    )


def _logits(path: Path, images: Path, listener: Listener = SILENT) -> Logits:
    return batched_logits(path, np.load(images, mmap_mode="r"))
