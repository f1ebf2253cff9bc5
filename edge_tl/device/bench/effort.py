"""How much to measure: fresh processes, blocks, calls. Measures nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_tl.device.bench.percentiles import count_needed


@dataclass(frozen=True)
class Effort:
    """In each of `rounds`, a fresh process per workload and `blocks` of `count` calls, or of more where so few would be
    over in less than 20 ms. Before the first of them a quiet machine is waited for, `wait_quiet_s` seconds at most.
    With `steps` an export also times, for its report, each step of a prediction of what it recommends."""

    rounds: int
    count: int
    blocks: int = 1
    wait_quiet_s: float = 0.0
    steps: bool = False

    def supporting(self, quantile: float) -> Effort:
        """At least as many calls as that percentile needs."""
        needed = -(-count_needed(quantile) // (self.rounds * self.blocks))
        return replace(self, count=max(self.count, needed))


QUICK = Effort(rounds=5, blocks=5, count=4)  # at least 100 calls: p50 and p90
THOROUGH = Effort(rounds=7, blocks=10, count=10)  # at least 700 calls: enough for a p99
NOISE = Effort(rounds=16, blocks=100, count=3)  # for a ratio near 1: many processes, many short blocks
