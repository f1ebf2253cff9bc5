"""What each rung of the ladder tries, in order. Evaluates no candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from edge_tl.host.int8 import nncf_ptq
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.choice import TRAINING_START_FLOAT, nearest_to_fp32, training_start
from edge_tl.host.int8.ranges import ESTIMATORS
from edge_tl.host.int8.settings import (
    CONTROLLED,
    EQUALIZED,
    NNCF,
    SMOOTHED,
    CandidateSettings,
)
from edge_tl.host.int8.storage_plan import StoragePlan

RUNGS = {
    1: "known-good settings",
    2: "search",
    3: "layers left in float",
    4: "NNCF accuracy control",
    5: "training in INT8",
}
FLOAT = (0.02, TRAINING_START_FLOAT, 0.10, 0.15)
"""Fractions of the multiply-accumulates that rung 3 leaves in float; it stops at the fewest that suffice."""
_EPOCHS = 5  # of training in INT8

Attempt = Callable[[], Candidate]


@dataclass(frozen=True)
class LadderLimits:
    """`max_drop` in percentage points; `up_to` the last rung; `seconds` for the whole ladder of one runtime;
    `max_float` the fraction of the multiply-accumulates that may stay in float."""

    max_drop: float
    up_to: int = max(RUNGS)
    seconds: float = math.inf
    max_float: float = FLOAT[-1]

    def allowed(self, images: int) -> float:
        """What a candidate may drop on so many selection images: at least one answer, or chance would send every small
        data set up the whole ladder. The bundle's gate applies the budget itself, on the evaluation images."""
        return max(self.max_drop, 100 / images)

    def is_chance(self, images: int) -> bool:
        """Whether two of so many selection images are over the budget: which candidate keeps it is then drawn by lot,
        and only how near its answers are to FP32's tells candidates apart."""
        return 200 / images > self.max_drop


@dataclass(frozen=True)
class LadderJob:
    """`first` are the settings of the first candidate, `plan` says how weights are stored; `deadline` is by
    `perf_counter`."""

    source: CandidateSource
    first: CandidateSettings
    limits: LadderLimits
    deadline: float
    plan: StoragePlan

    @property
    def seconds_left(self) -> float:
        """Until the deadline; below 0 after it."""
        return self.deadline - perf_counter()


def attempts(rung: int, job: LadderJob, tried: Sequence[Candidate]) -> Iterator[Attempt]:
    """What `rung` tries after the candidates `tried`; each is built when it is called. Raises what measuring the layers
    raises."""
    first, make, closest = job.first, job.source.make, nearest_to_fp32(tried)
    if rung == 1:
        yield partial(make, first)
        for storage in job.plan.also:
            yield partial(make, replace(first, storage=storage))
        if job.limits.is_chance(len(job.source.selection)):
            yield partial(make, replace(first, estimator=ESTIMATORS[1]))
    elif rung == 2:
        known = {each.settings for each in tried}
        for settings in variants(closest.settings if closest else first):
            if settings not in known:
                yield partial(make, settings)
    elif rung == 3 and closest:
        # Beside a layer in float, additions and gates between layers would be rounded for nothing.
        base = replace(closest.settings, matrix_only=True)
        for names in exclusions(job.source, base, job.limits.max_float, job.seconds_left):
            yield partial(make, base.with_float_layers(names))
    elif rung == 4 and first.runtime == "openvino":
        controlled = replace(first, method=CONTROLLED, estimator="min-max", matrix_only=False)
        yield partial(make, controlled, max_drop=job.limits.max_drop)
    elif rung == 5 and (start := training_start(tried)):
        settings = replace(start.settings, epochs=_EPOCHS)
        yield lambda: make(settings, start=start.qdq, seconds=max(job.seconds_left, 0.0))


def last_resort(job: LadderJob, tried: Sequence[Candidate]) -> Iterator[Attempt]:
    """After the last rung that was tried: the nearest candidate's settings, and the first ones, with weights that may
    require instructions. Training is not begun anew for them."""
    if job.plan.last is None:
        return
    closest = nearest_to_fp32([each for each in tried if not each.settings.epochs])
    wanted = [closest.settings] if closest else []
    for settings in dict.fromkeys(each for each in [*wanted, job.first] if each.storage != job.plan.last):
        yield partial(job.source.make, replace(settings, storage=job.plan.last))


def variants(first: CandidateSettings) -> Iterator[CandidateSettings]:
    """Rung 2: one thing changed at a time, for both ways of rounding between the layers."""
    yield replace(first, matrix_only=not first.matrix_only)
    yield replace(first, rescaled=EQUALIZED)
    yield replace(first, rescaled=SMOOTHED)
    for estimator in ESTIMATORS[1:]:
        yield replace(first, estimator=estimator)
    for count in (100, 300):
        if count < first.images:
            yield replace(first, images=count)
    if first.symmetric:
        return  # NNCF's own symmetric activations are UINT8 where nothing is negative
    count = min(first.images, nncf_ptq.MOST)
    nncf = replace(first, method=NNCF, estimator="min-max", images=count, matrix_only=False)
    yield nncf
    if first.runtime == "openvino":
        # NNCF smooths any layer, at the price of a multiplication before it.
        yield replace(nncf, rescaled=SMOOTHED)


def exclusions(
    source: CandidateSource, base: CandidateSettings, limit: float, seconds: float = math.inf
) -> Iterator[set[str]]:
    """Rung 3: gates, ends, both, and the most sensitive layers that fit into each fraction of `FLOAT`, up to `limit`.
    Raises `TimeoutError` where the layers cannot be measured in `seconds`."""
    share = source.layers.share
    gates, ends = source.layers.gates(), source.layers.ends()
    ranked = source.rank(base, seconds=seconds)
    sets = [gates, ends, gates | ends]
    for most in FLOAT:
        worst: set[str] = set()
        for row in ranked:  # a costly layer that does not fit leaves room for the next ones
            if share(worst | {row.layer}) <= min(most, limit):
                worst = worst | {row.layer}
        sets.append(worst)
    # From little work in float to much, so that the first that suffices is the cheapest.
    seen: list[set[str]] = [set()]
    for names in sorted(sets, key=share):
        if names not in seen and share(names) <= limit:
            seen.append(names)
            yield names
