"""One judgement of a bundle: what was measured, against which limit, and why it passed or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """`measured` and `limit` are in `unit`; `artifact` is None for the pixels gate, `measured` where there was nothing
    to measure. What could not be decided here is not `judged`, and does not fail."""

    gate: str
    artifact: str | None
    measured: float | None
    limit: float
    unit: str
    passed: bool
    reason: str
    judged: bool = True
