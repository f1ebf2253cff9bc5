"""What two bundles or two runs differ in, as `report A B --json` prints it. Compares nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_tl.device.records.codec import Record, written
from edge_tl.device.records.timing import Interval

Side = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class DifferenceRecord(Record):
    """One figure of both. `difference` with its 95 % interval: of an accuracy the second minus the first in percentage
    points, on the same `n` images where `paired`; of a latency how many times faster the second is; of a size by what
    the second is to be multiplied to be the first. `better` is None where they cannot be told apart; `why` says what
    keeps them from being compared, or what to know of it."""

    figure: Literal["accuracy", "latency", "size"]
    of: tuple[str, str]
    a: float | None
    b: float | None
    difference: float | None = written(None)
    difference_ci: Interval | None = written(None)
    paired: bool = False
    n: int | None = None
    better: Side | None = written(None)
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class PairRecord(Record):
    """Two of a kind by their names; the first differences are those of what would be shipped."""

    kind: Literal["bundles", "runs"]
    a: str
    b: str
    sentence: str
    differences: tuple[DifferenceRecord, ...]
