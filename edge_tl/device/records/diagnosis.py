"""What `diagnose` found out about somebody's own pipeline, and the accuracies of mistakes that a bundle holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.codec import Bounds, Fraction, NotEmpty, Record, json_key, written

Count0 = Annotated[int, Bounds(0, 1 << 53)]


@dataclass(frozen=True)
class FingerprintRecord(Record):
    """The accuracy that is left where a pipeline makes the `mistake`, with its 95 % interval (Wilson)."""

    mistake: NotEmpty
    accuracy: Fraction
    accuracy_ci: Interval | None = None


@dataclass(frozen=True)
class FingerprintsRecord(Record):
    """Measured at export with `artifact` on `n` of the evaluation images; `accuracy` is without a mistake, on the
    same."""

    artifact: NotEmpty
    n: Count0
    accuracy: Fraction
    accuracy_ci: Interval | None
    mistakes: tuple[FingerprintRecord, ...]

    def of(self, mistake: str) -> FingerprintRecord | None:
        """None where it was not measured."""
        return next((each for each in self.mistakes if each.mistake == mistake), None)


@dataclass(frozen=True)
class MatchRecord(Record):
    """A mistake, or several joined by "+", that explains the answers. `correlation` is over all images and labels, of
    top-1 the share of equal answers; `expected_accuracy` was measured at export, with its 95 % interval, None where it
    was not."""

    mistake: NotEmpty
    correlation: float
    expected_accuracy: Fraction | None
    change: str = json_key("advice")
    artifact: str | None = None
    expected_accuracy_ci: Interval | None = None


@dataclass(frozen=True)
class DiagnosisResult(Record):
    """`verdict`: "reference" (the bundle's own answers), "mistake" (`matches`, best first), or "unknown". `closest`:
    these answers do not tell its matches apart, or the reference from what else gives the same labels. `correlation` is
    with the reference, `artifact` the one whose answers are nearest; `differs` lists images that this does not
    explain."""

    outcome: Literal["reference", "mistake", "unknown"] = json_key("verdict")
    matches: tuple[MatchRecord, ...] = written(())
    kind: Literal["logits", "probabilities", "top1"] = written("logits")
    n: Count0 = written(0)
    artifact: str | None = written(None)
    correlation: float | None = written(None)
    reference_accuracy: Fraction | None = written(None)
    closest: bool = written(False)
    differs: tuple[str, ...] = written(())
    notes: tuple[str, ...] = written(())
