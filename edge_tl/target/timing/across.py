"""Results of several machines and dates side by side, and the gate for CI. It must not read files or measure."""

from __future__ import annotations

from typing import Any

from edge_tl.target.errors import BadInput
from edge_tl.target.timing.ratio import LEAST_ROUNDS, unpaired
from edge_tl.target.timing.results import machine_slug, rounds_of, same_machine


def compare(
    results: list[tuple[str, dict[str, Any]]], *, fail_if_slower: float | None = None
) -> dict[str, Any]:
    """`{base, files[], rows[], limit, passed, gates[]}` of named results; the first is the base.

    A row is an artifact of a file, which `number` (from 0) finds among `files`: `latency_ms{}`, `same_machine`,
    `changed[]` (what else differs from the base), and `slowdown` with `slowdown_ci`: how many times slower than in the
    base, from the rounds of both.

    `fail_if_slower` (a fraction) is a gate on rows of the base's machine: it fails where the LOWER end of the interval
    exceeds `1 + fail_if_slower`. So it fails when a slow-down beyond the limit is proven, not when one cannot be ruled
    out: a gate that fails on noise is soon switched off. Raises `BadInput` where it could judge nothing.
    """
    name, base = results[0]
    known = {row["id"]: row for row in base["artifacts"]}
    rows: list[dict[str, Any]] = []
    for number, (file, result) in enumerate(results):
        for row in result["artifacts"]:
            made = _row(result, row, base, known.get(row["id"]), first=number == 0)
            rows.append({"artifact": row["id"], "file": file, "number": number, **made})
    gates = []
    if fail_if_slower is not None:
        gates = [_gate(row, fail_if_slower) for row in rows if not row["is_base"]]
        if not any(gate["judged"] for gate in gates):
            why = gates[0]["reason"] if gates else "only one result was given"
            raise BadInput(f"--fail-if-slower: nothing could be judged: {why}.")
    return {
        "base": name,
        "files": [
            {
                "file": file,
                "date": result["date"],
                "machine": machine_slug(result["machine"]),
                "kind": result.get("kind"),
                "load1": (result.get("conditions") or {}).get("before", {}).get("load1"),
            }
            for file, result in results
        ],
        "rows": rows,
        "limit": fail_if_slower,
        "gates": gates,
        "passed": all(gate["passed"] for gate in gates),
    }


def percent(text: str) -> float:
    """0.05 for "5%" or "5". Raises `BadInput`."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise BadInput(f"--fail-if-slower {text}: give a percentage, e.g. 5%.")
    return value


def _row(
    result: dict[str, Any],
    row: dict[str, Any],
    base: dict[str, Any],
    was: dict[str, Any] | None,
    *,
    first: bool,
) -> dict[str, Any]:
    here = same_machine(result["machine"], base["machine"])
    found: dict[str, Any] = {"speedup": None, "speedup_ci": None, "distinguishable": None}
    if was is not None and not first:
        found = unpaired(rounds_of(row), rounds_of(was))
    return {
        "is_base": first,
        "in_base": was is not None,
        "latency_ms": row["latency_ms"],
        "ran": row["ran"],
        "same_machine": here,
        "changed": [] if first or was is None else _changed(result, row, base, was),
        "slowdown": found["speedup"],
        "slowdown_ci": found["speedup_ci"],
        "distinguishable": found["distinguishable"],
    }


def _changed(
    result: dict[str, Any], row: dict[str, Any], base: dict[str, Any], was: dict[str, Any]
) -> list[str]:
    """What else than time differs from the base, in words."""
    said = []
    hashes = [(r.get("bundle") or {}).get(row["id"]) for r in (base, result)]
    if None not in hashes and hashes[0] != hashes[1]:
        said.append("another model file")
    for key in ("runtime", "device", "precision", "threads"):
        if was["ran"].get(key) != row["ran"].get(key):
            said.append(f"{key} {was['ran'].get(key)} -> {row['ran'].get(key)}")
    for key in ("batch", "load", "fps"):
        if base["method"].get(key) != result["method"].get(key):
            said.append(f"{key} {base['method'].get(key)} -> {result['method'].get(key)}")
    return said


def _gate(row: dict[str, Any], limit: float) -> dict[str, Any]:
    name, ends = row["artifact"], row["slowdown_ci"]
    gate = {"artifact": name, "file": row["file"], "limit": limit, "judged": False, "passed": True}
    if not row["in_base"]:
        return gate | {"reason": f"{name} is not in the base"}
    if not row["same_machine"]:
        return gate | {"reason": f"{name} in {row['file']} was timed on another machine"}
    if ends is None:
        return gate | {"reason": f"{name} has fewer than {LEAST_ROUNDS} rounds in one of the results"}
    low, high = (100 * (end - 1) for end in ends)
    passed = ends[0] <= 1 + limit
    middle = 100 * (row["slowdown"] - 1)
    words = f"{name} in {row['file']} takes {middle:+.1f} % time [{low:+.1f}, {high:+.1f}]"
    if passed:
        words += f": {'within' if ends[1] <= 1 + limit else 'not proven beyond'} {100 * limit:g} %"
    else:
        words += f": beyond {100 * limit:g} % even at the lower end"
    return gate | {"judged": True, "passed": passed, "reason": words}
