"""Results of several machines and dates side by side, and the gate for CI. It must not read files or measure."""

from __future__ import annotations

from typing import Any

from edge_tl.device.bench.ratio import LEAST_ROUNDS, unpaired
from edge_tl.device.bench.results import BACK_TO_BACK, Measurement, machine_slug, measurements, same_machine
from edge_tl.device.errors import BadInput


def compare_results(
    results: list[tuple[str, dict[str, Any]]], *, fail_if_slower: float | None = None
) -> dict[str, Any]:
    """`{base, files[], rows[], missing[], not_compared[], limit, passed, gates[]}` of named results; the first is the
    base.

    A row is a figure of an artifact (back to back, at a pace, beside load, …) in a file, which `number` (from 0) finds
    among `files`: `latency_ms{}`, `same_machine`, `changed[]` (what else differs from the base), `alike` (timed under
    the same conditions), and `slowdown` with `slowdown_ci`: how many times slower than in the base, from the rounds of
    both. `missing` are the base's figures that another file of its machine lacks.

    `fail_if_slower` (a fraction) is a gate on rows of the base's machine: it fails where the LOWER end of the interval
    exceeds `1 + fail_if_slower`. So it fails when a slow-down beyond the limit is proven, not when one cannot be ruled
    out: a gate that fails on noise is soon switched off. What it could not judge has a gate that says why, for a
    regression may hide there. Raises `BadInput` where it could judge nothing.
    """
    name, base = results[0]
    held = [measurements(result) for _, result in results]
    known = {figure.id: figure for figure in held[0]}
    rows: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for number, (file, result) in enumerate(results):
        for figure in held[number]:
            made = _row(result, figure, base, known.get(figure.id), first=number == 0)
            rows.append(
                {
                    "artifact": figure.artifact,
                    "figure": figure.key,
                    "how": figure.how,
                    "file": file,
                    "number": number,
                }
                | made
            )
        if same_machine(result["machine"], base["machine"]):
            missing += [
                gap | {"file": file, "number": number} for gap in _missing(file, held[number], held[0])
            ]
    gates = []
    if fail_if_slower is not None:
        gates = [_gate(row, fail_if_slower) for row in rows if not row["is_base"]]
        gates += [
            {
                "artifact": gap["artifact"],
                "figure": gap["figure"],
                "file": gap["file"],
                "limit": fail_if_slower,
            }
            # An artifact that is gone may be as slow as it likes: that is no pass.
            | {"judged": False, "passed": gap["figure"] is not None, "reason": gap["reason"]}
            for gap in missing
        ]
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
                "load1": result.get("conditions", {}).get("before", {}).get("load1"),
            }
            for file, result in results
        ],
        "rows": rows,
        "missing": missing,
        "not_compared": _not_compared(results),
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
    result: dict[str, Any], figure: Measurement, base: dict[str, Any], was: Measurement | None, *, first: bool
) -> dict[str, Any]:
    here = same_machine(result["machine"], base["machine"])
    found: dict[str, Any] = {"speedup": None, "speedup_ci": None, "distinguishable": None}
    other: list[str] = []
    if was is not None and not first:
        found = unpaired(figure.rounds, was.rounds)
        other = [
            f"{key} {was.under.get(key)} -> {figure.under.get(key)}"
            for key in figure.under | was.under
            if was.under.get(key) != figure.under.get(key)
        ]
    return {
        "is_base": first,
        "in_base": was is not None,
        "latency_ms": figure.latency_ms,
        "images_per_s": figure.images_per_s,
        "ran": figure.ran,
        "same_machine": here,
        "alike": not other,
        "changed": [] if first or was is None else other + _changed(result, figure, base, was),
        "slowdown": found["speedup"],
        "slowdown_ci": found["speedup_ci"],
        "distinguishable": found["distinguishable"],
    }


def _changed(
    result: dict[str, Any], figure: Measurement, base: dict[str, Any], was: Measurement
) -> list[str]:
    """What else than time and the conditions differs from the base, in words."""
    said = []
    hashes = [(r.get("bundle") or {}).get(figure.artifact) for r in (base, result)]
    if None not in hashes and hashes[0] != hashes[1]:
        said.append("another model file")
    for key in ("runtime", "device", "precision", "threads", "streams"):
        if was.ran.get(key) != figure.ran.get(key):
            said.append(f"{key} {was.ran.get(key)} -> {figure.ran.get(key)}")
    if base["method"].get("batch") != result["method"].get("batch"):
        said.append(f"batch {base['method'].get('batch')} -> {result['method'].get('batch')}")
    return said


def _missing(file: str, held: list[Measurement], base: list[Measurement]) -> list[dict[str, Any]]:
    """The base's artifacts that are not in a file; of those that are, the figures that are not."""
    ids, artifacts = {figure.id for figure in held}, {figure.artifact for figure in held}
    gone = dict.fromkeys(figure.artifact for figure in base if figure.artifact not in artifacts)
    gaps: list[dict[str, Any]] = [
        {"artifact": name, "figure": None, "reason": f"{name} is not in {file}"} for name in gone
    ]
    for figure in base:
        if figure.artifact in artifacts and figure.id not in ids:
            reason = f"{named(figure.artifact, figure.how)} is not in {file}"
            gaps.append({"artifact": figure.artifact, "figure": figure.key, "reason": reason})
    return gaps


def _not_compared(results: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the files hold and no row shows, in words."""
    return [
        f"steps, cold start and memory in {file}"
        for file, result in results
        if any("parts" in row for row in result["artifacts"])
    ]


def named(artifact: str, how: str) -> str:
    """A figure in words; back to back goes without saying."""
    return artifact if how == BACK_TO_BACK else f"{artifact}, {how},"


def _gate(row: dict[str, Any], limit: float) -> dict[str, Any]:
    name, ends = named(row["artifact"], row["how"]), row["slowdown_ci"]
    gate = {"artifact": row["artifact"], "figure": row["figure"], "file": row["file"], "limit": limit}
    gate |= {"judged": False, "passed": True}
    if not row["in_base"]:
        return gate | {"reason": f"{name} is not in the base"}
    if not row["same_machine"]:
        return gate | {"reason": f"{name} in {row['file']} was timed on another machine"}
    if not row["alike"]:
        return gate | {"reason": f"{name} in {row['file']} was timed otherwise: {', '.join(row['changed'])}"}
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
