"""How an artifact's answers compare with PyTorch's: drop, confidence, confusion, instruction sets, changed images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Count, Fault, Fraction, Record, written

Interval = tuple[float, float]


@dataclass(frozen=True)
class SparseConfusion(Record):
    """A confusion matrix of so many classes that most of it is zeros: `(label, answer, count)` of the others."""

    classes: int
    cells: tuple[tuple[int, int, int], ...]


Confusion = tuple[tuple[int, ...], ...] | SparseConfusion
"""Counts `[label][answer]`."""


@dataclass(frozen=True)
class ThresholdRecord(Record):
    """What rejecting answers below the probability `asked` leaves: the share of images answered (`coverage`) and the
    share of those that is right. `restoring` is the threshold at which as many are answered as by PyTorch."""

    asked: Fraction
    coverage: Fraction
    accuracy: Fraction | None
    restoring: float
    restored_coverage: Fraction | None
    restored_accuracy: Fraction | None


ConfidenceBin = tuple[Annotated[int, Bounds(0, 1 << 53)], Annotated[int, Bounds(0, 1 << 53)], Fraction]
"""Of the answers whose confidence falls into a bin, how many there are, how many are right, and their mean
confidence."""

Bins = Annotated[tuple[ConfidenceBin, ...], Count(0, 100)]


@dataclass(frozen=True)
class ConfidenceRecord(Record):
    """The temperature that the logits are divided by, and the expected calibration error and the mean cross entropy
    (nats) after and before. `bins` and `bins_before` are the equally wide bins of confidence from 0 to 1 that the
    errors are of; none in records of older versions and in `bundle.json`."""

    temperature: float
    ece: float
    ece_before: float
    log_loss: float
    log_loss_before: float
    threshold: ThresholdRecord | None = None
    bins: Bins = ()
    bins_before: Bins = ()

    def check(self) -> None:
        """Raises `Fault` for more right answers than answers."""
        for key, bins in (("bins", self.bins), ("bins_before", self.bins_before)):
            if any(right > n for n, right, _ in bins):
                raise Fault(key, "more right answers than answers", "[answers, right, mean confidence] each")


@dataclass(frozen=True)
class ChangedAnswer(Record):
    """An image that the artifact (`device`) answers with another class than PyTorch; `label` is the true one."""

    image: str
    label: str
    pytorch: str
    device: str


@dataclass(frozen=True)
class ProvenOn(Record):
    """INT8 on one instruction set, None where it is not known: this CPU's, or a lesser one's that oneDNN was capped to
    (`cap`). `kernels` counts what computed the layers; `fault` says why it did not run there."""

    isa: str | None = written(None)
    cap: str | None = written(None)
    kernels: dict[str, int] | None = None
    fault: str | None = None
    accuracy: Fraction | None = None
    drop_pp: float | None = None
    drop_ci_pp: Interval | None = None
    agreement: Fraction | None = None
    n: int | None = None

    def check(self) -> None:
        if self.drop_ci_pp is not None and self.drop_pp is None:
            raise Fault("drop_pp", "None", "a number beside its interval")

    def within(self, max_drop_pp: float) -> bool:
        """Whether it ran, and lost no more; true where the drop was not recorded."""
        return self.fault is None and (self.drop_pp is None or self.drop_pp <= max_drop_pp)


@dataclass(frozen=True)
class FolderAccuracy(Record):
    """An artifact on a labelled folder; the drop is from the FP32 artifact, which has none itself."""

    artifact: str
    accuracy: Fraction
    n: int
    drop_pp: float | None = None
    drop_ci_pp: Interval | None = None
    lost: int | None = None
    won: int | None = None
    mcnemar_p: float | None = None
    agreement: Fraction | None = None
