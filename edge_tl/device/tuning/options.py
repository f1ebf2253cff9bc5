"""What `tune` is asked for, as one object that refuses what cannot be. Measures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from edge_tl.device.errors import BadInput
from edge_tl.device.records.tuned import Objective
from edge_tl.device.runtimes.devices import check_device_name

BUDGET_S = 25.0
MOST_S, MOST_MS = 86_400.0, 1e6


@dataclass(frozen=True)
class TuneOptions:
    """The options of `edge-tl tune`. `artifacts` are ids (none: all that passed at export); `device` None is every
    device that works here; `max_p95_ms` None is no limit. `budget_s` bounds how often it measures: a machine so slow
    that the least takes longer gets the least. `wait_quiet_s` is how long a quiet machine is waited for, at most.
    Raises `BadInput` for a value that cannot be."""

    objective: Objective = "latency"
    max_p95_ms: float | None = None
    artifacts: tuple[str, ...] = ()
    device: str | None = None
    budget_s: float = BUDGET_S
    seed: int = 0
    wait_quiet_s: float = 0.0

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise BadInput(f"--objective {self.objective}: give one of {', '.join(get_args(Objective))}.")
        if self.max_p95_ms is not None and not 0 < self.max_p95_ms < MOST_MS:
            raise BadInput(f"--max-p95 {self.max_p95_ms:g}: give milliseconds above 0.")
        if not 0 < self.budget_s <= MOST_S:
            raise BadInput(f"--budget {self.budget_s:g}: give seconds above 0, a day at most, e.g. 25.")
        if not 0 <= self.wait_quiet_s <= MOST_S:
            raise BadInput(f"--wait-quiet {self.wait_quiet_s:g}: give seconds, from 0 to {MOST_S:.0f}.")
        if self.device is not None:  # None is every device, an empty name none
            check_device_name(self.device)
