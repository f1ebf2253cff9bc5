"""Whether an artifact keeps its gates and the budgets of an application on this machine: what a pipeline asks before it
ships a bundle. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from edge_tl.device import gates
from edge_tl.device.artifact_choice import best_first, stand_in_note
from edge_tl.device.bench import run as bench_run
from edge_tl.device.bench.effort import QUICK
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.format import number
from edge_tl.device.instructions import able
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import identity, int8_isa
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.budgets import BudgetsResult
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.timing import ConditionsRecord, OpenInterval
from edge_tl.device.records.verification import VerifyResult
from edge_tl.device.runtimes.devices import check_device_name, runnable_artifacts


@dataclass(frozen=True)
class Budgets:
    """The limits, each inclusive; None is none. `max_drop_pp` is accuracy lost in percentage points (positive = worse),
    `max_p95_ms` milliseconds of one image, `max_size_mb` megabytes of 10**6 bytes. Raises `BadInput` for a limit that
    cannot be."""

    max_drop_pp: float | None = None
    max_p95_ms: float | None = None
    max_size_mb: float | None = None

    def __post_init__(self) -> None:
        for option, value in (("--max-p95-ms", self.max_p95_ms), ("--max-size-mb", self.max_size_mb)):
            if value is not None and not 0 < value < 1e9:
                raise BadInput(f"{option} {value:g}: give a number above 0.")
        if self.max_drop_pp is not None and not -100 <= self.max_drop_pp <= 100:
            raise BadInput(f"--max-drop {self.max_drop_pp:g}: give percentage points, e.g. 0.5.")


@dataclass(frozen=True)
class Where:
    """Which artifact (None: the best one that runs) on which device, after how many seconds of waiting for a quiet
    machine at most."""

    artifact: str | None = None
    device: str = "CPU"
    allow_fallback: bool = False
    wait_quiet_s: float = 0.0


def check_budgets(
    bundle: Bundle,
    budgets: Budgets,
    *,
    where: Where | None = None,
    data: Path | None = None,
    listener: Listener = SILENT,
) -> BudgetsResult:
    """The gates of one artifact here, then each budget: the drop as it was measured at export, or on the labelled
    folder `data` here; the 95th percentile timed here; the size of its files.

    Raises `BadInput` for an artifact that is not there or a folder of other classes, and what `verify` and `bench` do.
    """
    where = where or Where()
    check_device_name(where.device)
    chosen = _chosen(bundle, where)
    names = [chosen.id, *_stand_in(bundle, chosen, where.device)] if data else [chosen.id]
    verified = gates.verify(
        bundle,
        data=data,
        artifacts=names,
        device=where.device,
        allow_fallback=where.allow_fallback,
        listener=listener,
    )
    found = [gate for gate in verified.gates if gate.artifact in (None, chosen.id)]
    # What verify forgives, because so few images tell nothing, a pipeline must not take for kept.
    found = [gate if gate.judged else replace(gate, passed=None) for gate in found]
    found += _not_run(chosen, verified, found)
    failed = _of_export(bundle, chosen)
    if (most := budgets.max_drop_pp) is not None:  # it stands in place of the bundle's own
        found = [gate for gate in found if gate.unit != "pp"]
        failed = [gate for gate in failed if gate.unit != "pp" or _still_failed(gate, chosen, most)]
        found.append(_drop_gate(chosen, verified, most, data))
    found += failed
    if budgets.max_size_mb is not None:
        found.append(_size_gate(chosen, budgets.max_size_mb))
    timing = None
    if budgets.max_p95_ms is not None:
        timing = _time(bundle, chosen, where, listener)
        found.append(_p95_gate(chosen, timing, budgets.max_p95_ms))
    note = stand_in_note(bundle, chosen, where.device) if where.artifact is None else None
    own = timing.artifacts[0] if timing and timing.artifacts else None
    return BudgetsResult(
        passed=all(gate.passed is True for gate in found),
        bundle=bundle.record.name,
        artifact=chosen.id,
        device=where.device,
        gates=tuple(found),
        warnings=(*([note] if note else []), *verified.warnings),
        machine=identity(),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ran=verified.ran.get(chosen.id),
        latency_ms=own.latency_ms if own else None,
        conditions=timing.conditions if timing else None,
    )


def _chosen(bundle: Bundle, where: Where) -> Artifact:
    """The artifact that was asked for, else the best that can run here. Raises `BadInput` where none can."""
    if where.artifact is not None:
        return bundle.artifact(where.artifact)
    suited, lacking = able(best_first(bundle, bundle.artifacts), where.device)
    runnable, skipped = runnable_artifacts(suited, where.device) if suited else ([], [])
    if not runnable:
        why = "; ".join(f"{one['artifact']}: {one['reason']}" for one in [*lacking, *skipped])
        raise BadInput(
            f"no artifact of {bundle.record.name} can be checked here: {why or 'all failed their gates at export'}. "
            "Name one with --artifact, or export again."
        )
    return runnable[0]


def _stand_in(bundle: Bundle, chosen: Artifact, device: str) -> list[str]:
    """The FP32 artifact that the drop on a folder is from: PyTorch is not here."""
    if chosen.precision == "fp32":
        return []
    full = [each for each in bundle.artifacts if each.precision == "fp32"]
    runnable = runnable_artifacts(full, device)[0] if full else []
    return [each.id for each in sorted(runnable, key=lambda each: each.runtime != chosen.runtime)[:1]]


def _not_run(chosen: Artifact, verified: VerifyResult, found: Sequence[GateResult]) -> list[GateResult]:
    """A gate that is not judged where the artifact did not run and no gate says why."""
    if chosen.id in verified.ran or any(gate.passed is False for gate in found):
        return []
    why = next((one.reason for one in verified.skipped if one.artifact == chosen.id), "it cannot run here")
    limit = chosen.limits.device_max_abs_diff
    return [GateResult("device", chosen.id, None, limit, "logit", None, f"not judged: {why}", False)]


def _of_export(bundle: Bundle, chosen: Artifact) -> list[GateResult]:
    """Gates that failed at export: passing here does not make up for them."""
    failed = [g for g in bundle.record.gates if g.artifact in (None, chosen.id) and g.passed is False]
    return [GateResult(**vars(gate) | {"reason": f"at export: {gate.reason}"}) for gate in failed]


def _still_failed(gate: GateResult, chosen: Artifact, limit: float) -> bool:
    """Whether a drop that failed at export is beyond the budget that was asked for too. That on the CPU of the export
    is judged by itself."""
    return gate.measured is None or (gate.measured != chosen.record.drop_pp and gate.measured > limit)


def _drop_gate(chosen: Artifact, verified: VerifyResult, limit: float, data: Path | None) -> GateResult:
    drop, interval, measured = _drop(chosen, verified, data)
    if drop is None:
        return GateResult("loss", chosen.id, None, limit, "pp", None, f"not judged: {measured}", False)
    low, high = interval or (drop, drop)
    reason = f"accuracy drop {drop:+.2f} pp [{low:.2f}, {high:.2f}] {measured}, budget {limit:g} pp"
    if drop <= limit < high:
        reason += "; its interval reaches beyond the budget"
    return GateResult("loss", chosen.id, drop, limit, "pp", drop <= limit, reason)


def _drop(
    chosen: Artifact, verified: VerifyResult, data: Path | None
) -> tuple[float | None, Interval | None, str]:
    """The drop, its interval, and where it was measured, or why there is none."""
    full = chosen.precision == "fp32"
    if data is not None and not full:
        rows = verified.data.accuracy if verified.data else ()
        row = next((row for row in rows if row.artifact == chosen.id), None)
        if row is None:
            return None, None, f"{chosen.id} did not run on {data}"
        if row.drop_pp is None:
            return None, None, "no FP32 artifact ran here to compare with; leave --data out"
        return row.drop_pp, row.drop_ci_pp, f"on {row.n} images of {data}"
    record, here = chosen.record, int8_isa()
    if record.drop_pp is None:
        return None, None, "its accuracy was not measured at export; give --data DIR"
    if full or not record.proven_on:
        compared = ", which an FP32 artifact is compared with on a folder" if data is not None else ""
        return record.drop_pp, record.drop_ci_pp, f"from PyTorch at export{compared}"
    for proven in record.proven_on:
        if proven.isa is not None and proven.isa == here and proven.drop_pp is not None:
            return proven.drop_pp, proven.drop_ci_pp, f"at export with {here}, as here"
    return (
        None,
        None,
        f"INT8 was not measured at export with {here or 'the instructions of this CPU'}; give --data DIR",
    )


def _size_gate(chosen: Artifact, limit: float) -> GateResult:
    size = chosen.record.size_mb
    reason = f"its files take {size:.2f} MB, budget {limit:g} MB"
    return GateResult("size", chosen.id, size, limit, "MB", size <= limit, reason)


def _time(bundle: Bundle, chosen: Artifact, where: Where, listener: Listener) -> BenchResult:
    effort = replace(QUICK, count=12)  # 300 calls: a p95 with both ends of its interval
    options = BenchOptions(
        artifacts=(chosen.id,),
        device=where.device,
        allow_fallback=where.allow_fallback,
        rounds=effort.rounds,
        blocks=effort.blocks,
        count=effort.count,
        wait_quiet_s=where.wait_quiet_s,
    )
    return bench_run.bench(bundle, options, listener=listener)


def _p95_gate(chosen: Artifact, timing: BenchResult, limit: float) -> GateResult:
    own: ArtifactTiming | None = next((row for row in timing.artifacts if row.id == chosen.id), None)
    if own is None or own.latency_ms.p95 is None:
        why = next((one.reason for one in timing.skipped), "too few calls for a p95")
        return GateResult("speed", chosen.id, None, limit, "ms", None, f"not judged: {why}", False)
    p95, span = own.latency_ms.p95, _span(own.latency_ms.p95_ci)
    reason = f"p95 {number(p95)} ms{span} with {own.ran.threads} threads, budget {limit:g} ms"
    if p95 <= limit:  # other programs only make it slower
        return GateResult("speed", chosen.id, p95, limit, "ms", True, reason)
    if busy := _busy(timing.conditions):
        said = f"not judged: {busy}; {reason}. Time again when it is quiet, or wait with --wait-quiet 5m"
        return GateResult("speed", chosen.id, p95, limit, "ms", None, said, False)
    return GateResult("speed", chosen.id, p95, limit, "ms", False, reason)


def _busy(conditions: ConditionsRecord | None) -> str | None:
    return busy_reason(conditions, identity().cores_allowed)


def _span(interval: OpenInterval | Sequence[float] | None) -> str:
    if interval is None:
        return ""
    low, high = ("?" if end is None else number(end) for end in interval)
    return f" [{low}, {high}]"
