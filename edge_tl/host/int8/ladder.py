"""The recovery ladder: the cheapest way to INT8 first, and one rung up while the accuracy budget is not kept.

    1  known-good settings      Q/DQ, per-channel weights, pooled 99.9 % ranges, logits corrected
    2  search                   ranges, rescaled channels, calibration images, what is rounded where, NNCF
    3  layers left in float     gates, ends, what measurement finds most sensitive; the least work first
    4  NNCF accuracy control    OpenVINO only
    5  training in INT8         distillation from FP32

For CPUs of any kind the weights of all of these have scales with which no sum is cut where products are added in 16
bits. Only where no rung keeps the budget with them, eight bits are tried that may require another CPU.

`rungs` says what each rung tries, `candidate_source` makes it, `choice` compares. Candidates are compared on selection
images, which are neither the calibration's nor the evaluation's; the first ones on some of
them, and all on all where none keeps the budget there. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.format import megabytes, percentage
from edge_tl.device.listener import Listener
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import Candidate, delete_files
from edge_tl.host.int8.choice import (
    best,
    best_natively,
    keeps_budget,
    nearest_to_fp32,
    training_start,
)
from edge_tl.host.int8.qdq import SIGNED
from edge_tl.host.int8.ranges import ESTIMATORS
from edge_tl.host.int8.records import CandidateRecord, LadderRecord, RungRecord
from edge_tl.host.int8.rungs import RUNGS, LadderJob, LadderLimits, attempts, last_resort
from edge_tl.host.int8.settings import QDQ, CandidateSettings
from edge_tl.host.int8.storage_plan import REQUIRED, StoragePlan

LAST_RESORT = max(RUNGS) + 1
NAMES = RUNGS | {LAST_RESORT: "eight bits that may require dot products"}
_SPENT = "the time budget is spent"
_REQUIRES = (
    "no rung keeps the budget with weights that no CPU's sums cut; eight bits keep it on the selection images, on a "
    "CPU with VNNI or Arm's dot products"
)


@dataclass(frozen=True)
class LadderResult:
    """The best candidate of one runtime, and the record of how it was found."""

    best: Candidate
    record: LadderRecord


def climb(
    source: CandidateSource,
    runtime: str,
    limits: LadderLimits,
    plan: StoragePlan,
    *,
    listener: Listener,
) -> LadderResult:
    """The first rung that keeps the budget, or the best of all; `runtime` is "onnx" or "openvino".

    A candidate that fails to build is an entry with its reason, and the next is tried. Raises `EdgeTLError` when none
    can be built.
    """
    deadline = perf_counter() + limits.seconds
    if source.more:
        if not limits.is_chance(len(source.selection)):
            few = f"on the first {len(source.selection)} selection images"
            try:
                first = replace(limits, up_to=1)
                found = _climb(source, runtime, first, replace(plan, last=None), deadline, listener)
                if found.record.passed:
                    return found
                said = f"over the budget {few}"
            except EdgeTLError as error:
                said = f"{error}, {few}"
            listener.note(f"{runtime}-int8: {said}; on with all")
        source.use_all()
    return _climb(source, runtime, limits, plan, deadline, listener)


def _climb(
    source: CandidateSource,
    runtime: str,
    limits: LadderLimits,
    plan: StoragePlan,
    deadline: float,
    listener: Listener,
) -> LadderResult:
    images = len(source.calibration)
    first = CandidateSettings(
        runtime, QDQ, ESTIMATORS[0], images, plan.first, matrix_only=runtime == "openvino"
    )
    if source.symmetric and runtime == "onnx":
        first = replace(first, storage=SIGNED, symmetric=True)
    job = LadderJob(source, first, limits, deadline, plan)
    allowed = limits.allowed(len(source.selection))
    tried: list[Candidate] = []
    rungs: list[RungRecord] = []
    for number in (*range(1, limits.up_to + 1), *([LAST_RESORT] if plan.last else [])):
        began = perf_counter()
        built, faults = _try_rung(number, job, tried, allowed)
        tried += built
        able = best_natively(built, allowed) if number == LAST_RESORT else None
        needed = (best(tried, allowed), nearest_to_fp32(tried), training_start(tried), able) if tried else ()
        for each in tried:
            if each not in needed:
                delete_files(each)
        if not built and not faults:
            continue
        top = best(built, allowed) if built else None
        rungs.append(_rung_record(number, perf_counter() - began, built, faults, top))
        said = _figures(top.record) if top else faults[0]
        listener.note(f"{runtime}-int8, rung {number}, {NAMES[number]}: {said}")
        if top and keeps_budget(top, allowed):
            reason = f"rung {number}, {NAMES[number]}, keeps the budget on the selection images"
            requires = REQUIRED if plan.portable and _is_unproven(top) else ()
            return _result(top, True, reason, rungs, source, requires)
        if able:
            return _result(able, True, _REQUIRES, rungs, source, REQUIRED)
    if not tried:
        raise EdgeTLError(f"no INT8 for {runtime}: {rungs[0].faults[0] if rungs else 'nothing was tried'}")
    top = best(tried, allowed)
    return _result(top, False, _over_budget(top.record, limits, rungs), rungs, source)


def _try_rung(
    number: int, job: LadderJob, tried: Sequence[Candidate], allowed: float
) -> tuple[list[Candidate], list[str]]:
    """The candidates of a rung, and why others could not be made. After the deadline no further one is begun, but the
    very first."""
    built: list[Candidate] = []
    faults: list[str] = []
    waiting = last_resort(job, tried) if number == LAST_RESORT else attempts(number, job, tried)
    while True:
        if tried and job.seconds_left < 0:
            faults.append(_SPENT)
            break
        try:
            attempt = next(waiting, None)
            if attempt is None:
                break
            candidate = attempt()
            if job.plan.portable and keeps_budget(candidate, allowed):
                candidate = job.source.under_caps(candidate, allowed)
            built.append(candidate)
        except Exception as error:  # NNCF, the runtimes and the quantizer raise anything
            said = str(error).splitlines()[0][:200] if str(error) else ""
            ours = isinstance(error, (TimeoutError, EdgeTLError))
            faults.append(said if ours else f"{type(error).__name__}: {said}")
        if number == 3 and built and keeps_budget(built[-1], allowed):
            break  # the more layers, the more float: the first that suffices is the best
    return built, faults


def _is_unproven(candidate: Candidate) -> bool:
    """Whether nothing shows what OpenVINO's sums come to on lesser CPUs: this one cannot be capped to any."""
    record = candidate.record
    return candidate.settings.runtime == "openvino" and record.may_saturate != () and not record.under_caps


def _rung_record(
    number: int, seconds: float, built: Sequence[Candidate], faults: Sequence[str], top: Candidate | None
) -> RungRecord:
    return RungRecord(
        rung=number,
        name=NAMES[number],
        minutes=seconds / 60,
        candidates=tuple(each.record for each in built),
        faults=tuple(faults),
        best=top.record if top else None,
    )


def _result(
    top: Candidate,
    passed: bool,
    reason: str,
    rungs: Sequence[RungRecord],
    source: CandidateSource,
    requires: tuple[str, ...] = (),
) -> LadderResult:
    record = LadderRecord(
        passed, reason, top.record, tuple(rungs), tuple(source.sensitivity), requires, len(source.selection)
    )
    return LadderResult(top, record)


def _over_budget(top: CandidateRecord, limits: LadderLimits, rungs: Sequence[RungRecord]) -> str:
    """Why no candidate passes."""
    if any(_SPENT in entry.faults for entry in rungs):
        what = f"within {limits.seconds:g} s no rung keeps"
    else:
        what = "no rung keeps" if limits.up_to == max(RUNGS) else f"no rung up to {limits.up_to} keeps"
    low, high = top.drop_ci_pp
    return (
        f"{what} the budget of {limits.max_drop:g} percentage points; the best drops by {top.drop_pp:.2f} "
        f"[{low:.2f}, {high:.2f}] on the selection images, {top.expected_drop_pp:.2f} expected"
    )


def _figures(record: CandidateRecord) -> str:
    """A candidate in one line."""
    low, high = record.drop_ci_pp
    minutes, seconds = divmod(round(record.seconds), 60)
    work = "" if record.float_macs is None else f"{percentage(record.float_macs, 1)} of the work in float, "
    expected = f"{record.expected_drop_pp:.2f}"
    if record.expected_drop_ci_pp:
        expected += " [{:.2f}, {:.2f}]".format(*record.expected_drop_ci_pp)
    return (
        f"drop {expected} pp expected, {record.drop_pp:.2f} [{low:.2f}, {high:.2f}] counted, "
        f"agreement {percentage(record.agreement, 1)}, "
        f"{record.latency_ms:.2f} ms, {megabytes(1e6 * record.size_mb)}, {work}{minutes}:{seconds:02}"
    )
