"""From measurements to verdicts: limits that travel with an artifact, gates on accuracy and speed, what to ship.

It must not measure: everything it needs is in the record and the timings it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bench import ratio
from edge_tl.device.bench.machine_use import busy_reason, conditions_of, unreliable
from edge_tl.device.bundle import REFERENCE
from edge_tl.device.records.bench import SpeedupRecord
from edge_tl.device.records.gate import GateResult
from edge_tl.host.export import recommendation
from edge_tl.host.images.dataset import Sample
from edge_tl.host.recipe.schema import Export

# What stays in the report's bench and is not repeated in the record of an artifact.
_OF_THE_BENCH = (
    "id",
    "samples_ns",
    "block_round",
    "block_calls",
    "warmup_calls",
    "within_process",
    "across_run",
)


def limits(
    artifact: dict[str, Any],
    host: dict[str, NDArray[np.float32]],
    temperatures: Mapping[str, float],
    max_drop: float,
) -> dict[str, float]:
    """What a device may differ by. FP32: a thousandth of the largest logit. FP16: a fiftieth. INT8 and 8-bit weights:
    no more than quantization itself cost on the host, and less than half of the largest logit, so that a device that
    answers nothing never passes. But for FP32, one answer beyond the host's. `host` holds logits `(n, classes)` by
    id, each divided by its own of `temperatures`."""
    name = artifact["id"]
    own, expected = host[name], in_units_of(name, host, temperatures)
    highest = float(np.abs(own).max())
    difference, least = 1e-3 * max(1.0, highest), 1.0
    if artifact["precision"] == "fp16":  # 11 bits of mantissa where an accelerator computes in them
        difference = 2e-2 * max(1.0, highest)
    if artifact["precision"] != "fp32":
        difference = min(max(difference, metrics.max_abs_diff(own, expected)), 0.5 * highest)
        same = int(np.sum(metrics.top1(own) == metrics.top1(expected)))
        # Not rounded: 0.666667 would refuse the 4 of 6 that it stands for.
        least = max(0, same - 1) / len(own)
    return {"device_max_abs_diff": difference, "golden_agreement": least, "max_drop_pp": max_drop}


def in_units_of(
    name: str, scaled: Mapping[str, NDArray[np.float32]], temperatures: Mapping[str, float]
) -> NDArray[np.float32]:
    """PyTorch's logits divided by the temperature of artifact `name`, as that artifact's are. Each has its own: what
    lies between logits of two temperatures is mostly the temperatures, not what quantization cost."""
    expected, ratio = scaled[REFERENCE], temperatures[REFERENCE] / temperatures[name]
    return expected if ratio == 1.0 else expected * np.float32(ratio)


def changed(
    samples: Sequence[Sample], labels: list[str], expected: metrics.Ints, got: metrics.Ints
) -> list[dict[str, str]]:
    return [
        {"image": s.path, "label": labels[s.label], "pytorch": labels[a], "device": labels[b]}
        for s, a, b in zip(samples, expected, got, strict=True)
        if a != b
    ]


def conclude(
    record: dict[str, Any],
    timing: dict[str, Any],
    checked: dict[str, Any],
    asked: Export,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Add latencies, gates, budgets, verdicts and the recommendation to the record; `missing` gives why an artifact
    that was asked for could not be made."""
    rows = {row["id"]: row for row in timing["artifacts"]}
    blocks = {name: [np.array(b, np.int64) for b in row["samples_ns"]] for name, row in rows.items()}
    record["reference"] |= {k: rows[REFERENCE][k] for k in ("latency_ms", "ran", "load_ms", "first_ms")}
    conditions = timing.get("conditions")
    gates = list(checked["gates"])
    full = [a["id"] for a in record["artifacts"] if a["precision"] == "fp32"]
    fastest = min(full, key=lambda name: float(np.median(np.concatenate(blocks[name]))), default=None)
    for artifact in record["artifacts"]:
        name = artifact["id"]
        artifact |= {k: v for k, v in rows[name].items() if k not in _OF_THE_BENCH}
        gates += [gate.to_json() for gate in _drop_gates(artifact, asked)]
        if artifact["precision"] != "fp32":
            over = SpeedupRecord().to_json()
            if fastest is not None:
                timed = ratio.speedup(blocks[fastest], blocks[name], rows[name].get("block_round"))
                over = timed.to_json()
            artifact |= {"faster_than_fp32": over["speedup"], "faster_than_fp32_ci": over["speedup_ci"]}
        if artifact["precision"] in ("fp32", "int8"):  # the others are for accelerators and for size
            gates.append(_speed_gate(artifact, conditions).to_json())
        mine = [gate for gate in gates if gate["artifact"] in (name, None)]
        artifact["passed"] = all(gate["passed"] for gate in mine)
        artifact["reasons"] = [gate["reason"] for gate in mine if not gate["passed"]]
        artifact["budgets"] = _budgets(artifact, asked)
    gates += [
        GateResult("loss", name, None, asked.max_drop, "pp", False, f"not made: {why}").to_json()
        for name, why in (missing or {}).items()
    ]
    record["gates"] = gates
    record["conditions"] = conditions
    record["recommended"], record["recommendation"] = recommend(
        record["artifacts"], fastest, record["conditions"]
    )
    record["passed"] = all(gate["passed"] for gate in gates) and record["recommended"] is not None


def _budgets(artifact: dict[str, Any], asked: Export) -> list[dict[str, Any]]:
    """`{budget, measured, limit, unit, kept}` of latency and size, where they were asked for. Unlike a gate, one that
    is not kept says nothing against the artifact, only against shipping it here."""
    size = sum(file["bytes"] for file in artifact["files"]) / 1e6
    p95 = artifact["latency_ms"]["p95"]
    rows = (("p95", p95, asked.max_p95_ms, "ms"), ("size", size, asked.max_size_mb, "MB"))
    return [
        {"budget": name, "measured": measured, "limit": limit, "unit": unit}
        | {"kept": measured is not None and measured <= limit}
        for name, measured, limit, unit in rows
        if limit is not None
    ]


def _drop_gates(artifact: dict[str, Any], asked: Export) -> list[GateResult]:
    """The drop on this CPU; of an artifact made for lesser ones, the drop under their instruction set as well."""
    gates = [_drop_gate(artifact["id"], artifact, asked.max_drop, "")]
    for row in artifact.get("proven_on", []) if asked.target_cpu == "avx2" else ():
        if row["cap"] and row["isa"] == "avx2":
            gates.append(_drop_gate(artifact["id"], row, asked.max_drop, " with no more than AVX2"))
    return gates


def _drop_gate(name: str, measured: dict[str, Any], max_drop: float, where: str) -> GateResult:
    if "fault" in measured:
        reason = f"accuracy drop{where} not measured: {measured['fault']}"
        return GateResult("loss", name, None, max_drop, "pp", False, reason)
    low, high = measured["drop_ci_pp"]
    reason = (
        f"accuracy drop{where} {measured['drop_pp']:+.2f} percentage points [{low:.2f}, {high:.2f}], "
        f"budget {max_drop:g} percentage points"
    )
    if measured["drop_pp"] < 0:
        reason = f"{recommendation.change(measured)}{where}, budget {max_drop:g} percentage points"
    if low <= 0 <= max_drop < measured["drop_pp"]:
        reason += "; so few images cannot tell it from no loss: give more"
    return GateResult(
        "loss", name, measured["drop_pp"], max_drop, "pp", measured["drop_pp"] <= max_drop, reason
    )


def _speed_gate(artifact: dict[str, Any], conditions: dict[str, Any] | None) -> GateResult:
    """Fails only when the interval shows the artifact slower than PyTorch; not on a machine that others keep busy."""
    ratio, interval = artifact["speedup"], artifact["speedup_ci"]
    why = unreliable(interval, conditions_of(conditions))
    passed = why is not None or (interval[1] if interval else ratio) >= 1.0
    shown = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    reason = f"{ratio:.2f}{shown} times PyTorch's speed" + ("" if passed else ": slower than PyTorch here")
    if why:
        reason = f"not judged: {why}; {ratio:.2f}{shown} times PyTorch's speed was seen"
    return GateResult("speed", artifact["id"], ratio, 1.0, "x", passed, reason, decided=why is None)


def recommend(
    artifacts: list[dict[str, Any]], fastest_fp32: str | None, conditions: dict[str, Any] | None = None
) -> tuple[str | None, str]:
    """The artifact to ship and the sentence that says why: the fastest that passed its gates and keeps the budgets.
    INT8 that is not provably faster than the fastest FP32 artifact is never recommended: it costs answers and buys
    nothing. FP16 and 8-bit weights are, where a budget leaves no FP32."""
    passed = [a for a in artifacts if a["passed"]]
    within = [a for a in passed if all(budget["kept"] for budget in a["budgets"])]
    if not passed:
        return (
            None,
            "ship none of these: no artifact passed its gates; see the failed gates for the room at fault.",
        )
    if not within:
        least = "; ".join(_nearest_to(passed, i) for i in range(len(passed[0]["budgets"])))
        return None, f"ship none of these: no artifact that passed its gates keeps the budgets ({least})."
    # Without an FP32 artifact there is nothing that INT8 must be faster than.
    quick = [
        a for a in within if a["precision"] == "int8" and (fastest_fp32 is None or _least_ratio(a) > 1.0)
    ]
    full = [a for a in within if a["precision"] == "fp32"]
    small = [a for a in within if a["precision"] not in ("fp32", "int8")]
    pool = quick or full or small
    if not pool:
        what = "keeps the budgets" if any(a["precision"] == "fp32" for a in passed) else "passed its gates"
        return None, (
            f"ship none of these: only INT8 {what}, and it is not faster than {fastest_fp32} on this CPU."
        )
    best = min(pool, key=lambda a: float(a["latency_ms"]["p50"] or np.inf))
    words = recommendation.shipping(best, fastest_fp32, conditions)
    slow = [a for a in artifacts if a["precision"] == "int8"]
    if slow and not quick and fastest_fp32 is not None and busy_reason(conditions_of(conditions)):
        words += ". Whether INT8 is faster was not judged either: export again when the machine is quiet"
    elif slow and not quick and fastest_fp32 is not None:
        seen = "; ".join(f"{a['id']} {_why_not(a, fastest_fp32)}" for a in slow)
        words += f". INT8 is not worth its answers on this CPU: {seen}"
    return best["id"], f"{words}.{recommendation.files(best)}{recommendation.not_everywhere(best)}"


def _least_ratio(artifact: dict[str, Any]) -> float:
    """The low end of how many times faster than FP32 it is."""
    return float((artifact["faster_than_fp32_ci"] or [artifact["faster_than_fp32"]])[0])


def _why_not(artifact: dict[str, Any], fastest_fp32: str) -> str:
    ratio, interval = artifact["faster_than_fp32"], artifact["faster_than_fp32_ci"]
    shown = f"{ratio:.2f}x" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
    if not artifact["passed"]:
        return f"failed its gates ({shown} {fastest_fp32}'s speed)"
    if over := [b for b in artifact["budgets"] if not b["kept"]]:
        return f"is over the budget of {over[0]['limit']:g} {over[0]['unit']}"
    if why := unreliable(interval, None):
        return f"is not provably faster than {fastest_fp32}: {why}"
    if interval and interval[0] <= 1.0 <= interval[1]:
        return f"is not distinguishable from {fastest_fp32} in speed ({shown})"
    return f"runs at {shown} {fastest_fp32}'s speed"


def _nearest_to(passed: list[dict[str, Any]], index: int) -> str:
    """How near the best artifact comes to a budget."""
    rows = [(a["budgets"][index], a["id"]) for a in passed if a["budgets"][index]["measured"] is not None]
    budget = passed[0]["budgets"][index]
    if not rows:
        return f"{budget['budget']} was not measured: too few calls, export with --thorough"
    best, name = min(rows, key=lambda row: float(row[0]["measured"]))
    return (
        f"{best['budget']}: at best {best['measured']:.3g} {best['unit']}, {name}; budget {best['limit']:g}"
    )
