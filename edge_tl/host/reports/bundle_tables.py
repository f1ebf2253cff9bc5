"""The record of a bundle as tables of text. Measures nothing and lays nothing out; what is None becomes a dash."""

from __future__ import annotations

from collections import Counter

from edge_tl.device.bench.machine_use import why_not_judged
from edge_tl.device.format import DASH, NOT_JUDGED, interval, number, one_line
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.timing import ConditionsRecord, LatencyRecord, RanRecord
from edge_tl.host.reports.table import Column, Row, Table

ARTIFACTS = (
    Column("name", "artifact", False),
    Column("accuracy", "accuracy %"),
    Column("drop", "drop pp [interval]"),
    Column("agreement", "agreement %"),
    Column("p50", "p50 ms"),
    Column("p90", "p90 ms"),
    Column("p99", "p99 ms"),
    Column("speedup", "speed-up × [interval]"),
    Column("size", "size MB"),
    Column("result", "result", False),
)
GATES = (
    Column("gate", "gate", False),
    Column("artifact", "artifact", False),
    Column("result", "result", False),
    Column("measured", "measured"),
    Column("limit", "limit"),
    Column("reason", "reason", False),
)
CHANGED = (
    Column("image", "image", False),
    Column("label", "true label", False),
    Column("pytorch", "PyTorch said", False),
    Column("device", "artifact says", False),
    Column("effect", "effect", False),
)
EXECUTED = (
    Column("name", "artifact", False),
    Column("device", "device", False),
    Column("precision", "precision", False),
    Column("threads", "threads"),
    Column("n", "timed runs"),
    Column("needs", "needs", False),
)


def artifact_table(record: BundleRecord) -> Table:
    """PyTorch first, then every artifact in the record's order."""
    reference = record.reference
    rows = [
        _figures("PyTorch", reference.accuracy, reference.latency_ms)
        | dict.fromkeys(("drop", "agreement", "speedup", "size"), DASH)
        | {"result": "reference"}
    ]
    for artifact in record.artifacts:
        rows.append(
            _figures(artifact.id, artifact.accuracy, artifact.latency_ms)
            | {
                "drop": interval(artifact.drop_pp, artifact.drop_ci_pp),
                "agreement": number(artifact.agreement, 2, 100),
                "speedup": judged_speedup(artifact, record.conditions),
                "size": number(artifact.size_mb),
                "result": _result(record, artifact),
            }
        )
    return Table(ARTIFACTS, rows)


def gate_table(record: BundleRecord) -> Table:
    """Every gate; the pixels gate belongs to all artifacts."""
    rows = [
        {
            "gate": one_line(gate.gate),
            "artifact": one_line(gate.artifact or "all"),
            "result": _gate_result(gate),
            "measured": _significant(gate.measured, gate.unit),
            "limit": _significant(gate.limit, gate.unit),
            "reason": one_line(gate.reason),
        }
        for gate in record.gates
    ]
    return Table(GATES, rows)


def failed_gates(record: BundleRecord) -> list[tuple[Row, str]]:
    """The rows of gates that failed, each with what its failure means."""
    rows = zip(gate_table(record).rows, record.gates, strict=True)
    return [(row, gate.meaning) for row, gate in rows if row["result"] == "FAIL"]


def changed_answers(artifact: ArtifactRecord) -> Table:
    """Images whose answer is not PyTorch's, and whether that is worse or better."""
    rows = []
    for one in artifact.changed or ():
        effect = "wrong before and after"
        if one.pytorch == one.label:
            effect = "lost"
        elif one.device == one.label:
            effect = "gained"
        texts = {"image": one.image, "label": one.label, "pytorch": one.pytorch, "device": one.device}
        rows.append({key: one_line(text) for key, text in texts.items()} | {"effect": effect})
    return Table(CHANGED, rows)


def count_changes(changed: Table) -> str:
    """How many answers changed, and how: ``7 (5 lost, 2 gained)``."""
    counts = Counter(row["effect"] for row in changed.rows)
    each = ", ".join(f"{n:,} {effect}" for effect, n in counts.items())
    return f"{len(changed.rows):,}" + (f" ({each})" if each else "")


def executed_table(record: BundleRecord) -> Table:
    """What really ran, PyTorch first."""
    reference = record.reference
    rows = [_executed("PyTorch", reference.ran, reference.latency_ms, None)]
    rows += [_executed(a.id, a.ran, a.latency_ms, a.runtime_floor) for a in record.artifacts]
    return Table(EXECUTED, rows)


def _figures(name: str, accuracy: float | None, latency: LatencyRecord | None) -> Row:
    latency = latency or LatencyRecord()
    return {
        "name": one_line(name),
        "accuracy": number(accuracy, 2, 100),
        "p50": number(latency.p50),
        "p90": number(latency.p90),
        "p99": number(latency.p99),
    }


def _executed(name: str, ran: RanRecord | None, latency: LatencyRecord | None, needs: str | None) -> Row:
    return {
        "name": one_line(name),
        "device": one_line(ran and ran.device),
        "precision": one_line(ran and ran.precision),
        "threads": number(ran and ran.threads, 0),
        "n": number(latency and latency.n, 0),
        "needs": one_line(needs),
    }


def judged_speedup(artifact: ArtifactRecord, conditions: ConditionsRecord | None) -> str:
    """The figure, or that it says nothing: what was timed beside others must not look like a result. Records of older
    versions keep the figure, so their conditions decide."""
    if artifact.speedup is None and artifact.not_judged:
        return NOT_JUDGED
    text = interval(artifact.speedup, artifact.speedup_ci)
    return text if text == DASH or why_not_judged(artifact.speedup_ci, conditions) is None else NOT_JUDGED


def _significant(value: float | None, unit: str) -> str:
    # Gates measure anything from 1e-6 to thousands, so here significant digits, not decimals.
    if number(value) == DASH:
        return DASH
    return f"{value:.4g} {unit}" if unit else f"{value:.4g}"


def _gate_result(gate: GateResult) -> str:
    if not gate.judged:
        return NOT_JUDGED
    return "not checked" if gate.passed is None else "pass" if gate.passed else "FAIL"


def _result(record: BundleRecord, artifact: ArtifactRecord) -> str:
    if artifact.passed is None:
        return "not checked"
    if artifact.passed:
        over = [f"over {budget.budget}" for budget in artifact.budgets or () if not budget.kept]
        return ", ".join(["pass", *["recommended"] * (artifact.id == record.recommended), *over])
    failed = [g.gate for g in record.gates if g.passed is False and g.artifact in (artifact.id, None)]
    return "FAIL: " + ", ".join(dict.fromkeys(failed)) if failed else "FAIL"
