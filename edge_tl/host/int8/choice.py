"""Which candidate keeps the budget, which is the best, which one later rungs build on. Makes none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.settings import CandidateSettings

TRAINING_START_FLOAT = 0.05
"""The fraction of the multiply-accumulates that the start of training may have in float: training recovers what more
would."""
_ALIKE = 1.1  # latencies, and divergences, this close count as equal


def keeps_budget(candidate: Candidate, allowed: float) -> bool:
    """The expected drop decides, unless the one that was counted is certainly over the budget: on some thousand images
    the latter is a toss of half a point either way, and the ladder would stop at the first lucky candidate. It must do
    so under every lesser instruction set that was tried, too. `allowed` in percentage points."""
    return keeps_natively(candidate, allowed) and all(
        row.keeps(allowed) for row in candidate.record.under_caps
    )


def keeps_natively(candidate: Candidate, allowed: float) -> bool:
    """Whether it keeps the budget of `allowed` percentage points with this CPU's own instructions."""
    return candidate.record.expected_drop_pp <= allowed and candidate.record.drop_ci_pp[0] <= allowed


def best(candidates: Sequence[Candidate], allowed: float) -> Candidate:
    """Among those that keep the budget the fastest, and of equally fast ones the nearest to FP32; else the nearest.

    Candidates of one computation are equally fast, whatever a few calls say: their constants differ, no operator does.
    """
    good = [each for each in candidates if keeps_budget(each, allowed)]
    if not good:
        return min(candidates, key=_divergence)
    latency: dict[CandidateSettings, float] = {}
    for each in good:
        same = each.settings.computation
        latency[same] = min(each.record.latency_ms, latency.get(same, math.inf))
    limit = _ALIKE * min(latency.values())
    return min((each for each in good if latency[each.settings.computation] <= limit), key=_divergence)


def best_natively(candidates: Sequence[Candidate], allowed: float) -> Candidate | None:
    """The nearest to FP32 of those that keep the budget with this CPU's own instructions; None where none does."""
    return min((each for each in candidates if keeps_natively(each, allowed)), key=_divergence, default=None)


def nearest_to_fp32(candidates: Sequence[Candidate], most_float: float = 1.0) -> Candidate | None:
    """The Q/DQ candidate whose answers are nearest to FP32's, with at most such a fraction of the multiply-accumulates
    in float: what later rungs build on."""
    usable = (each for each in candidates if each.qdq and each.float_macs <= most_float)
    return min(usable, key=_divergence, default=None)


def training_start(candidates: Sequence[Candidate]) -> Candidate | None:
    """Where training goes on from: with little in float the nearest, and of those that are about as near the one with
    the most in float. What is rounded less is trained to more."""
    closest = nearest_to_fp32(candidates, TRAINING_START_FLOAT)
    if closest is None:
        return None
    limit = _ALIKE * _divergence(closest)
    usable = [
        each
        for each in candidates
        if each.qdq and _divergence(each) <= limit and each.float_macs <= TRAINING_START_FLOAT
    ]
    return max(usable, key=lambda each: (each.float_macs, -_divergence(each)))


def _divergence(candidate: Candidate) -> float:
    return candidate.record.divergence
