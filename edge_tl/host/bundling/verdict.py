"""From measurements to verdicts: limits that travel with an artifact, gates on accuracy and speed, what to ship.

It must not measure: everything it needs is in the record and the timings it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.host.images.data import Sample
from edge_tl.target import compare
from edge_tl.target.bundle import REFERENCE
from edge_tl.target.timing import ratio
from edge_tl.target.verify import Gate

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
    artifact: dict[str, Any], host: dict[str, NDArray[np.float32]], max_drop: float
) -> dict[str, float]:
    """What a device may differ by. FP32: a thousandth of the largest logit. INT8: no more than quantization itself
    cost on the host, and one answer beyond the host's."""
    own, expected = host[artifact["id"]], host[REFERENCE]
    difference = 1e-3 * max(1.0, float(np.abs(own).max()))
    least = 1.0
    if artifact["precision"] == "int8":
        difference = max(difference, compare.max_abs_diff(own, expected))
        least = max(0.0, compare.agreement(compare.top1(own), compare.top1(expected)) - 1 / len(own))
    return {"device_max_abs_diff": difference, "golden_agreement": round(least, 6), "max_drop_pp": max_drop}


def changed(
    samples: Sequence[Sample], labels: list[str], expected: compare.Ints, got: compare.Ints
) -> list[dict[str, str]]:
    return [
        {"image": s.path, "label": labels[s.label], "pytorch": labels[a], "device": labels[b]}
        for s, a, b in zip(samples, expected, got, strict=True)
        if a != b
    ]


def conclude(
    record: dict[str, Any], timing: dict[str, Any], checked: dict[str, Any], max_drop: float
) -> None:
    """Add latencies, gates, verdicts and the recommendation to the record."""
    rows = {row["id"]: row for row in timing["artifacts"]}
    blocks = {name: [np.array(b, np.int64) for b in row["samples_ns"]] for name, row in rows.items()}
    record["reference"] |= {k: rows[REFERENCE][k] for k in ("latency_ms", "ran", "load_ms", "first_ms")}
    gates = list(checked["gates"])
    full = [a["id"] for a in record["artifacts"] if a["precision"] == "fp32"]
    fastest = min(full, key=lambda name: float(np.median(np.concatenate(blocks[name]))))
    for artifact in record["artifacts"]:
        name = artifact["id"]
        artifact |= {k: v for k, v in rows[name].items() if k not in _OF_THE_BENCH}
        if artifact["precision"] == "int8":
            over = ratio.speedup(blocks[fastest], blocks[name], rows[name].get("block_round"))
            artifact |= {"faster_than_fp32": over["speedup"], "faster_than_fp32_ci": over["speedup_ci"]}
        gates += [asdict(gate) for gate in (_budget_gate(artifact, max_drop), _speed_gate(artifact))]
        mine = [gate for gate in gates if gate["artifact"] in (name, None)]
        artifact["passed"] = all(gate["passed"] for gate in mine)
        artifact["reasons"] = [gate["reason"] for gate in mine if not gate["passed"]]
    record["gates"] = gates
    record["passed"] = all(gate["passed"] for gate in gates)
    record["recommended"], record["recommendation"] = recommend(record["artifacts"], fastest)


def _budget_gate(artifact: dict[str, Any], max_drop: float) -> Gate:
    low, high = artifact["drop_ci_pp"]
    reason = (
        f"accuracy drop {artifact['drop_pp']:+.2f} percentage points [{low:.2f}, {high:.2f}], "
        f"budget {max_drop:g} percentage points"
    )
    return Gate(
        "loss", artifact["id"], artifact["drop_pp"], max_drop, "pp", artifact["drop_pp"] <= max_drop, reason
    )


def _speed_gate(artifact: dict[str, Any]) -> Gate:
    """Fails only when the interval shows the artifact slower than PyTorch."""
    ratio, interval = artifact["speedup"], artifact["speedup_ci"]
    passed = (interval[1] if interval else ratio) >= 1.0
    shown = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    reason = f"{ratio:.2f}{shown} times PyTorch's speed" + ("" if passed else ": slower than PyTorch here")
    return Gate("speed", artifact["id"], ratio, 1.0, "x", passed, reason)


def recommend(artifacts: list[dict[str, Any]], fastest_fp32: str) -> tuple[str | None, str]:
    """The artifact to ship and the sentence that says why. INT8 that is not provably faster than the fastest
    FP32 artifact is never recommended: it costs answers and buys nothing."""
    passed = {a["id"]: a for a in artifacts if a["passed"]}
    if not passed:
        return (
            None,
            "ship none of these: no artifact passed its gates; see the failed gates for the room at fault.",
        )
    quick = {
        name: a
        for name, a in passed.items()
        if a["precision"] == "int8" and (a["faster_than_fp32_ci"] or [a["faster_than_fp32"]])[0] > 1.0
    }
    pool = quick or {k: a for k, a in passed.items() if a["precision"] == "fp32"}
    if not pool:
        return None, (
            f"ship none of these: only INT8 passed its gates, and it is not faster than {fastest_fp32} on this CPU."
        )
    best = min(pool, key=lambda name: float(pool[name]["latency_ms"]["p50"] or np.inf))
    low, high = pool[best]["drop_ci_pp"]
    words = (
        f"ship {best}: accuracy drop {pool[best]['drop_pp']:.2f} pp [{low:.2f}, {high:.2f}], "
        f"{pool[best]['speedup']:.1f}x PyTorch's speed"
    )
    if quick:
        words += f", {pool[best]['faster_than_fp32']:.1f}x the fastest FP32 artifact ({fastest_fp32})."
    elif any(a["precision"] == "int8" for a in artifacts):
        slow = [a for a in artifacts if a["precision"] == "int8"]
        seen = ", ".join(f"{a['id']} {a['faster_than_fp32']:.2f}x" for a in slow)
        words += f". INT8 is not worth its answers on this CPU ({seen} of {fastest_fp32}'s speed)."
    return best, words
