"""Draw a record as inline SVG that takes its colours from the page it stands in.

Must not format a number of the record (target.tables does) or write a file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_tl.device.format import DASH, number
from edge_tl.host.reports import ladder_tables, run_tables
from edge_tl.host.reports.tables import table

# Stand-in colours that become CSS variables, so that one drawing serves the light and the dark page.
INK, MUTED, GRID, ACCENT, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ACCENT: "--accent", BAD: "--bad"}

# SVG user units. Narrow, so that text stays readable where a phone shrinks the drawing.
WIDTH, ROW, TOP, BOTTOM, SIDE = 420.0, 44.0, 8.0, 46.0, 14.0
TITLE = 1.05  # of a drawing of curves, as a share of the height of its axes


def latency(record: dict[str, Any]) -> Markup | None:
    """A row per runtime: p50 as a dot, a line to p90 and on to p99 where measured. None before any bench."""
    items = [record.get("reference") or {}, *(record.get("artifacts") or [])]
    timed = [(item.get("latency_ms") or {}, row) for item, row in zip(items, table(record), strict=True)]
    timed = [(ms, row) for ms, row in timed if ms.get("p50") is not None]
    if not timed:
        return None
    figure, axes = _frame(len(timed), "milliseconds per image")
    longest = 0.0
    for y, (ms, row) in enumerate(timed):
        supported = [(key, ms[key]) for key in ("p50", "p90", "p99") if ms.get(key) is not None]
        colour = MUTED if row["name"] == "PyTorch" else ACCENT
        _heading(axes, y, row, " · ".join(f"{key} {row[key]}" for key, _ in supported) + " ms")
        axes.plot([ms["p50"], supported[-1][1]], [y, y], color=colour, lw=2, solid_capstyle="butt")
        for key, value in supported[1:]:
            axes.plot([value], [y], "|", color=colour, ms=9 if key == "p90" else 15, mew=2)
        axes.plot([ms["p50"]], [y], "o", color=colour, ms=8)
        longest = max([longest, *(value for _, value in supported)])
    axes.set_xlim(0, 1.04 * longest or 1)
    return inline(figure, "latency", "Latency per runtime in milliseconds; the table has the same numbers")


def drop(record: dict[str, Any]) -> Markup | None:
    """A row per artifact: accuracy drop with its interval, and the recipe's budget as a line."""
    export = ((record.get("provenance") or {}).get("recipe") or {}).get("export") or {}
    budget = export.get("max_drop")
    rows = table(record)[1:]
    known = [
        (a, row) for a, row in zip(record.get("artifacts") or [], rows, strict=True) if row["drop"] != DASH
    ]
    if not known:
        return None
    figure, axes = _frame(len(known), "accuracy drop, percentage points (right is worse)")
    seen = [0.0] if budget is None else [0.0, float(budget)]
    for y, (artifact, row) in enumerate(known):
        value = artifact["drop_pp"]
        low, high = artifact.get("drop_ci_pp") or (value, value)
        colour = BAD if budget is not None and value > budget else ACCENT
        _heading(axes, y, row, f"{row['drop']} pp")
        axes.plot([low, high], [y, y], "|-", color=colour, lw=2, ms=9, mew=2)
        axes.plot([value], [y], "o", color=colour, ms=8)
        seen += [low, high]
    margin = 0.05 * (max(seen) - min(seen)) or 0.5
    axes.set_xlim(min(seen) - margin, max(seen) + margin)
    axes.axvline(0, color=MUTED, lw=1.2, zorder=0)
    if budget is not None:
        right = budget > (min(seen) + max(seen)) / 2
        axes.axvline(budget, color=BAD, lw=1.5, ls=(0, (4, 3)), zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        style = {"ha": "right" if right else "left", "va": "bottom", "color": BAD, "fontsize": 12}
        axes.annotate(f"budget {number(budget)}", (budget, 1), (-5 if right else 5, 2), **place, **style)
    return inline(
        figure, "drop", "Accuracy drop per artifact with its interval; the table has the same numbers"
    )


def sensitivity(record: dict[str, Any]) -> Markup | None:
    """A bar per layer, the most sensitive first, as long as that layer alone in INT8 moves the answers. None where no
    ladder had to measure them."""
    rows = ladder_tables.layers(record)
    if not rows:
        return None
    figure, axes = _frame(len(rows), "divergence, millinats")
    values = [1000 * layer.divergence for layer in ladder_tables.sensitive(record)]
    for y, (row, value) in enumerate(zip(rows, values, strict=True)):
        figures = f"{row['divergence']} · {row['macs']} % of the work"
        _heading(axes, y, {"name": row["layer"], "verdict": ""}, figures)
        axes.plot([0, value], [y, y], color=ACCENT, lw=8, solid_capstyle="butt")
    axes.set_xlim(0, 1.04 * max(values) or 1)
    label = "Divergence that each layer alone in INT8 causes; the table has the same numbers"
    return inline(figure, "sensitivity", label)


def curves(history: Sequence[dict[str, Any]]) -> tuple[Markup, Markup] | None:
    """Loss (training, validation) and validation accuracy over the epochs of a run; None without epochs.

    Two drawings, so that a phone can stack them. The best epoch has a ring, a change of the stage a dashed line.
    """
    if not history:
        return None
    best = run_tables.best_epoch(history)
    rows = run_tables.epochs(history)
    figure, loss = _plane(history, "loss")
    for key, name, colour in (("train_loss", "training", MUTED), ("val_loss", "validation", ACCENT)):
        _line(loss, _values(history, key), colour, best if key == "val_loss" else None, name)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderpad": 0, "ncols": 2}
    loss.legend(**place, frameon=False, fontsize=12, labelcolor=INK, handlelength=1.4, columnspacing=1.2)
    label = "Training and validation loss over the epochs; the table has the same numbers"
    drawn = inline(figure, "loss", label)

    figure, accuracy = _plane(history, "validation accuracy, %")
    _line(accuracy, _values(history, "val_accuracy", 100), ACCENT, best)
    if best is not None:
        text = f"best {rows[best]['val_accuracy']} in epoch {rows[best]['epoch']}"
        accuracy.text(1, TITLE, text, transform=accuracy.transAxes, ha="right", fontsize=12, color=INK)
    label = "Validation accuracy over the epochs; the table has the same numbers"
    return drawn, inline(figure, "accuracy", label)


def _plane(history: Sequence[dict[str, Any]], what: str) -> tuple[Figure, Any]:
    height, left, right, top = 250.0, 52.0, 10.0, 32.0
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes(
        (left / WIDTH, BOTTOM / height, 1 - (left + right) / WIDTH, 1 - (BOTTOM + top) / height)
    )
    plain(figure, axes)
    n = len(history)
    axes.set_xlim(0.5, n + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.locator_params(axis="y", nbins=6)
    axes.tick_params(axis="both", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_xlabel("epoch", color=MUTED, fontsize=12, labelpad=6)
    axes.text(0, TITLE, what, transform=axes.transAxes, fontsize=13, weight="bold", color=INK)
    stages = [item.get("stage") for item in history]
    for i in range(1, n):
        if stages[i] != stages[i - 1]:
            axes.axvline(i + 0.5, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=0)
    return figure, axes


def _line(axes: Any, values: list[float], colour: str, best: int | None, name: str | None = None) -> None:
    x = range(1, len(values) + 1)  # not the record's epochs: a stage may count from 1 again
    axes.plot(x, values, color=colour, lw=2, marker="o" if len(x) <= 30 else None, ms=4, label=name)
    if best is not None:
        axes.plot([x[best]], [values[best]], "o", ms=10, mew=2, mec=colour, mfc="none")


def _values(history: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> list[float]:
    return [float("nan") if item.get(key) is None else scale * item[key] for item in history]


def _frame(rows: int, unit: str) -> tuple[Figure, Any]:
    height = TOP + 14 + rows * ROW + BOTTOM
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes((SIDE / WIDTH, BOTTOM / height, 1 - 2 * SIDE / WIDTH, rows * ROW / height))
    plain(figure, axes)
    axes.set_ylim(rows - 0.6, -0.6)  # the first row on top, each with its heading above its line
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="x", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_xlabel(unit, color=MUTED, fontsize=12, labelpad=6)
    return figure, axes


def plain(figure: Figure, axes: Any) -> None:
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.set_axisbelow(True)


def _heading(axes: Any, y: int, row: dict[str, str], numbers: str) -> None:
    # Above the line, not at its end: labels cannot collide however close the dots are.
    place = {"va": "center", "parse_math": False, "transform": axes.get_yaxis_transform(), "color": INK}
    mark = " ✓" if row["verdict"].endswith("recommended") else ""
    axes.text(0, y - 0.36, row["name"] + mark, fontsize=13, weight="bold", **place)
    axes.text(1, y - 0.36, numbers, fontsize=12, ha="right", **place)


def inline(figure: Figure, name: str, label: str) -> Markup:
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S
    )
    # Two drawings share a page, so their ids must not meet.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" {box[0] if box else ""}>'
    return Markup(head + svg[svg.index(">") + 1 :])
