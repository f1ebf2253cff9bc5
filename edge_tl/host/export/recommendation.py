"""The sentence at the top of an export: what to ship, at what cost, how fast, which files, where not.

It must not judge: `verdict` chose, this says it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from edge_tl.device.bench.machine_use import conditions_of, unreliable

EXTRAS = {"onnxruntime": "ort", "openvino": "openvino"}


def shipping(best: dict[str, Any], fastest_fp32: str | None, conditions: dict[str, Any] | None) -> str:
    """ "ship openvino-int8: accuracy drop 0.14 pp [-1.02, 1.29], 10.6x [9.9, 11.4] PyTorch's speed", and how it keeps
    its budgets; of INT8 also how it compares with the fastest FP32 artifact."""
    parts = [change(best), speed(best["speedup"], best.get("speedup_ci"), "PyTorch's speed", conditions)]
    parts += [_kept(budget) for budget in best["budgets"]]
    if best["precision"] == "int8" and fastest_fp32 is not None:
        against = f"the fastest FP32 artifact ({fastest_fp32})"
        parts.append(
            speed(best["faster_than_fp32"], best.get("faster_than_fp32_ci"), against, conditions, brief=True)
        )
    return f"ship {best['id']}: {', '.join(part for part in parts if part)}"


def change(measured: dict[str, Any]) -> str:
    """The accuracy against PyTorch's: "accuracy drop 0.14 pp [-1.02, 1.29]", or that nothing was lost."""
    drop, (low, high) = measured["drop_pp"], measured["drop_ci_pp"]
    if round(drop, 2) > 0:
        return f"accuracy drop {drop:.2f} pp [{low:.2f}, {high:.2f}]"
    if round(drop, 2) == 0:
        return f"no loss of accuracy (drop 0.00 pp [{low:.2f}, {high:.2f}])"
    return f"no loss of accuracy: {-drop:.2f} points better than PyTorch [{-high:.2f}, {-low:.2f}]"


def speed(
    ratio: float,
    interval: list[float] | None,
    of_what: str,
    conditions: dict[str, Any] | None = None,
    *,
    brief: bool = False,
) -> str:
    """ "2.4x [2.2, 2.6] PyTorch's speed"; where the machine was too busy or the interval too wide, that, and no figure;
    `brief` leaves such a remark out, because another one has it."""
    if why := unreliable(interval, conditions_of(conditions)):
        return "" if brief else f"speed not judged: {why}"
    shown = f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else ""
    return f"{ratio:.1f}x{shown} {of_what}"


def files(artifact: dict[str, Any]) -> str:
    """What of the bundle an application opens, and which runtime opens it."""
    held = artifact.get("files") or []
    names = " + ".join(PurePosixPath(file["path"]).name for file in held if "path" in file)
    runtime = artifact.get("runtime")
    if not names or runtime not in EXTRAS:
        return ""
    who = "Its files: {}; they need" if len(held) > 1 else "Its file: {}; it needs"
    return f" {who.format(names)} {runtime}, which the extra [{EXTRAS[runtime]}] of edge-tl installs."


def not_everywhere(artifact: dict[str, Any]) -> str:
    """The lesser instruction sets on which the drop was over the budget, or could not be measured; "" where there are
    none."""
    limit = (artifact.get("limits") or {}).get("max_drop_pp")
    rows = [row for row in artifact.get("proven_on") or [] if row.get("cap")]
    over = [
        f"{row['isa']} (drop {row['drop_pp']:.2f} pp)"
        for row in rows
        if limit is not None and (row.get("drop_pp") or 0) > limit
    ]
    words = ""
    if over:
        words = (
            f" Not on CPUs that compute INT8 with {' or '.join(over)}: over the budget of {limit:g} pp there; "
            "for those export with --target-cpu avx2, or ship FP32."
        )
    if unproven := [row["isa"] for row in rows if "fault" in row]:
        words += f" Not on CPUs that compute INT8 with {' or '.join(unproven)} either: it did not run there."
    return words if over else words.replace(" either:", ":")


def _kept(budget: dict[str, Any]) -> str:
    unit = budget["unit"]
    return f"{budget['budget']} {budget['measured']:.3g} {unit} of at most {budget['limit']:g} {unit}"
