"""The recovery ladder: the cheapest way to INT8 first, and one rung up while the accuracy budget is not kept.

    1  known-good settings      Q/DQ, per-channel weights, pooled 99.9 % ranges, logits corrected
    2  search                   ranges, rescaled channels, calibration images, what is rounded where, NNCF
    3  layers left in float     gates, ends, what measurement finds most sensitive; the least work first
    4  NNCF accuracy control    OpenVINO only
    5  training in INT8         distillation from FP32

It must not print. Candidates are judged on selection images, which are neither the calibration's nor the evaluation's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.listener import Listener
from edge_tl.host.int8 import nncf_ptq
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import (
    CONTROLLED,
    EQUALIZED,
    NNCF,
    QDQ,
    SMOOTHED,
    Candidate,
    CandidateSettings,
    delete_files,
    with_float_layers,
)
from edge_tl.host.int8.qdq import SEVEN_BITS, SIGNED, weight_storage
from edge_tl.host.int8.ranges import ESTIMATORS

RUNGS = {
    1: "known-good settings",
    2: "search",
    3: "layers left in float",
    4: "NNCF accuracy control",
    5: "training in INT8",
}
FLOAT = (0.02, 0.05, 0.10, 0.15)
"""Fractions of the multiply-accumulates that rung 3 leaves in float; it stops at the fewest that suffice."""
_EPOCHS = 5  # of training in INT8
_FLOAT_IN_TRAINING = FLOAT[1]  # and what its start may have in float: training recovers what more would
_SPENT = "the time budget is spent"
_ALIKE = 1.1  # latencies, and divergences, this close are not told apart


@dataclass(frozen=True)
class LadderLimits:
    """`max_drop` in percentage points; `up_to` the last rung; `seconds` for the whole climb of one runtime; `max_float`
    the fraction of the multiply-accumulates that may stay in float."""

    max_drop: float
    up_to: int = 5
    seconds: float = math.inf
    max_float: float = FLOAT[-1]

    def allowed(self, images: int) -> float:
        """What a candidate may drop on so many selection images: at least one answer, or chance would send every small
        data set up the whole ladder. The bundle's gate judges the budget itself, on the evaluation images."""
        return max(self.max_drop, 100 / images)


@dataclass
class LadderResult:
    """What one runtime's climb came to: the best candidate, and for every rung what was tried."""

    best: Candidate
    passed: bool
    reason: str
    rungs: list[dict[str, Any]]
    sensitivity: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        kept = {"passed": self.passed, "reason": self.reason, "chosen": self.best.to_json()}
        return kept | {"rungs": self.rungs, "sensitivity": self.sensitivity}


def climb(
    source: CandidateSource,
    runtime: str,
    limits: LadderLimits,
    *,
    vnni: bool,
    listener: Listener,
    native: bool = True,
) -> LadderResult:
    """The first rung that keeps the budget, or the best of all; `runtime` is "onnx" or "openvino". `vnni`: the CPU that
    the artifact is made for has it. Not `native`: this CPU's arithmetic is not that CPU's.

    A candidate that fails to build is an entry with its reason, never the end. Raises `EdgeTLError` when none can be
    built.
    """
    start = perf_counter()
    images, storage = len(source.calibration), weight_storage(runtime, vnni)
    first = CandidateSettings(runtime, QDQ, ESTIMATORS[0], images, storage, matrix_only=runtime == "openvino")
    allowed = limits.allowed(len(source.selection))
    tried: list[Candidate] = []
    rungs: list[dict[str, Any]] = []

    def spent() -> bool:
        return bool(tried) and perf_counter() - start > limits.seconds

    for number, name in list(RUNGS.items())[: limits.up_to]:
        began = perf_counter()
        judged: list[Candidate] = []
        faults: list[str] = []
        attempts = _attempts(number, source, first, tried, limits, start, native=native)
        while True:
            if spent():
                faults.append(_SPENT)
                break
            try:
                attempt = next(attempts, None)
                if attempt is None:
                    break
                judged.append(attempt())
            except Exception as error:  # NNCF, the runtimes and the quantizer raise anything
                said = str(error).splitlines()[0][:200] if str(error) else ""
                ours = isinstance(error, (TimeoutError, EdgeTLError))
                faults.append(said if ours else f"{type(error).__name__}: {said}")
            if number == 3 and judged and _keeps(judged[-1], allowed):
                break  # the more layers, the more float: the first that suffices is the best
        tried += judged
        for each in tried:
            if each not in (_best(tried, allowed), _nearest(tried), _start_of_training(tried)):
                delete_files(each)
        if not judged and not faults:
            continue
        entry: dict[str, Any] = {"rung": number, "name": name, "minutes": (perf_counter() - began) / 60}
        entry |= {"candidates": [each.to_json() for each in judged], "faults": faults}
        rungs.append(entry)
        if judged:
            best = _best(judged, allowed)
            entry["best"] = best.to_json()
            listener.note(f"{runtime}-int8, rung {number}, {name}: {_figures(best)}")
        elif faults:
            listener.note(f"{runtime}-int8, rung {number}, {name}: {faults[0]}")
        if judged and _keeps(best, allowed):
            reason = f"rung {number}, {name}, keeps the budget on the selection images"
            return LadderResult(best, True, reason, rungs, source.sensitivity)
    if not tried:
        raise EdgeTLError(f"no INT8 for {runtime}: {rungs[0]['faults'][0] if rungs else 'nothing was tried'}")
    best = _best(tried, allowed)
    low, high = best.drop_ci_pp
    if any(_SPENT in entry["faults"] for entry in rungs):
        what = f"within {limits.seconds:g} s no rung keeps"
    else:
        what = "no rung keeps" if limits.up_to == max(RUNGS) else f"no rung up to {limits.up_to} keeps"
    reason = (
        f"{what} the budget of {limits.max_drop:g} percentage points; the best drops by {best.drop_pp:.2f} "
        f"[{low:.2f}, {high:.2f}] on the selection images, {best.expected_drop_pp:.2f} expected"
    )
    return LadderResult(best, False, reason, rungs, source.sensitivity)


def _attempts(
    rung: int,
    source: CandidateSource,
    first: CandidateSettings,
    tried: list[Candidate],
    limits: LadderLimits,
    start: float,
    *,
    native: bool,
) -> Iterator[Callable[[], Candidate]]:
    """What a rung tries, in order; each is built when it is called."""
    left = limits.seconds - (perf_counter() - start)
    nearest, start_of_training = _nearest(tried), _start_of_training(tried)
    if rung == 1:
        yield lambda: source.make(first)
        if first.storage == SEVEN_BITS and native:
            # Giving up a bit costs resolution, keeping it costs overflows; which is worse depends on the model, and
            # shows on a CPU that overflows.
            yield lambda: source.make(replace(first, storage=SIGNED))
    elif rung == 2:
        for settings in _variants(nearest.settings if nearest else first):
            yield lambda settings=settings: source.make(settings)  # type: ignore[misc]
    elif rung == 3 and nearest:
        # Beside a layer in float, additions and gates between layers would be rounded for nothing.
        base = replace(nearest.settings, matrix_only=True)
        for names in _exclusions(source, base, limits.max_float, left):
            yield lambda names=names: source.make(with_float_layers(base, names))  # type: ignore[misc]
    elif rung == 4 and first.runtime == "openvino":
        yield lambda: _controlled(source, first, limits)
    elif rung == 5 and start_of_training:
        settings = replace(start_of_training.settings, epochs=_EPOCHS)
        yield lambda: source.make(settings, start=start_of_training.qdq, seconds=max(left, 0.0))


def _variants(first: CandidateSettings) -> Iterator[CandidateSettings]:
    """Rung 2: one thing changed at a time, for both ways of rounding between the layers."""
    yield replace(first, matrix_only=not first.matrix_only)
    yield replace(first, rescaled=EQUALIZED)
    yield replace(first, rescaled=SMOOTHED)
    for estimator in ESTIMATORS[1:]:
        yield replace(first, estimator=estimator)
    for count in (100, 300):
        if count < first.images:
            yield replace(first, images=count)
    count = min(first.images, nncf_ptq.MOST)
    nncf = replace(first, method=NNCF, estimator="min-max", images=count, matrix_only=False)
    yield nncf
    if first.runtime == "openvino":
        # NNCF smooths any layer, at the price of a multiplication before it.
        yield replace(nncf, rescaled=SMOOTHED)


def _exclusions(
    source: CandidateSource, base: CandidateSettings, limit: float, seconds: float = math.inf
) -> Iterator[set[str]]:
    """Rung 3: gates, ends, both, and the most sensitive layers that fit into each share of `FLOAT`, up to `limit`.
    Raises `TimeoutError` where the layers cannot be measured in `seconds`."""
    share = source.layers.share
    gates, ends = source.layers.gates(), source.layers.ends()
    ranked = source.rank(base, seconds=seconds)
    sets = [gates, ends, gates | ends]
    for most in FLOAT:
        worst: set[str] = set()
        for row in ranked:  # a costly layer that does not fit leaves room for the next ones
            if share(worst | {row["layer"]}) <= min(most, limit):
                worst = worst | {row["layer"]}
        sets.append(worst)
    # From little work in float to much, so that the first that suffices is the cheapest.
    seen: list[set[str]] = [set()]
    for names in sorted(sets, key=share):
        if names not in seen and share(names) <= limit:
            seen.append(names)
            yield names


def _controlled(source: CandidateSource, first: CandidateSettings, limits: LadderLimits) -> Candidate:
    """NNCF's accuracy control."""
    settings = replace(first, method=CONTROLLED, estimator="min-max", matrix_only=False)
    return source.make(settings, max_drop=limits.max_drop)


def _keeps(judged: Candidate, allowed: float) -> bool:
    """The expected drop decides, unless the one that was counted is certainly over the budget: on some thousand images
    the latter is a toss of half a point either way, and the ladder would stop at the first lucky candidate."""
    return judged.expected_drop_pp <= allowed and judged.drop_ci_pp[0] <= allowed


def _best(judged: list[Candidate], allowed: float) -> Candidate:
    """Among those that keep the budget the fastest, and of equally fast ones the nearest to FP32; else the nearest."""
    passing = [each for each in judged if _keeps(each, allowed)]
    if not passing:
        return min(judged, key=lambda each: each.divergence)
    fastest = min(each.latency_ms for each in passing)
    return min(
        (each for each in passing if each.latency_ms <= _ALIKE * fastest), key=lambda each: each.divergence
    )


def _nearest(tried: list[Candidate], most_float: float = 1.0) -> Candidate | None:
    """The Q/DQ candidate whose answers are nearest to FP32's, with at most such a share of the work in float: what
    later rungs build on."""
    able = (each for each in tried if each.qdq and (each.float_macs or 0.0) <= most_float)
    return min(able, key=lambda each: each.divergence, default=None)


def _start_of_training(tried: list[Candidate]) -> Candidate | None:
    """Where training goes on from: with little in float the nearest, and of those that are about as near the one with
    the most in float. What is rounded less is trained to more."""
    nearest = _nearest(tried, _FLOAT_IN_TRAINING)
    if nearest is None:
        return None
    alike = (each for each in tried if each.qdq and each.divergence <= _ALIKE * nearest.divergence)
    able = [each for each in alike if (each.float_macs or 0.0) <= _FLOAT_IN_TRAINING]
    return max(able, key=lambda each: (each.float_macs or 0.0, -each.divergence))


def _figures(judged: Candidate) -> str:
    low, high = judged.drop_ci_pp
    minutes, seconds = divmod(round(judged.seconds), 60)
    work = "" if judged.float_macs is None else f"{judged.float_macs:.1%} of the work in float, "
    return (
        f"drop {judged.expected_drop_pp:.2f} pp expected, {judged.drop_pp:.2f} [{low:.2f}, {high:.2f}] counted, "
        f"agreement {judged.agreement:.1%}, "
        f"{judged.latency_ms:.2f} ms, {judged.size_mb:.1f} MB, {work}{minutes}:{seconds:02}"
    )
