"""The drawings of a report: latency, drop, sensitivity, curves, as inline SVG.

Numbers as text come from the tables. Writes no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_tl.device.format import number
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.host.reports import ladder_tables, run_tables
from edge_tl.host.reports.bundle_tables import artifact_table
from edge_tl.host.reports.svg import (
    ACCENT,
    BAD,
    BOTTOM,
    INK,
    MUTED,
    WIDTH,
    bare,
    inline,
    label_axis,
    log_axis,
    rows_plane,
)
from edge_tl.host.runs.record import EpochRecord

ROW, TOP, SIDE = 44.0, 8.0, 14.0
LOG_FROM = 6.0  # slowest by fastest
TITLE = 1.05  # of a drawing of curves, as a share of the height of its axes
_RECOMMENDED = " ✓"


def latency(record: BundleRecord) -> Markup | None:
    """A row for each runtime: p50 as a dot, a line to p90 and on to p99 where measured. None before any bench."""
    latencies = [record.reference.latency_ms, *(artifact.latency_ms for artifact in record.artifacts)]
    rows = artifact_table(record).rows
    timed = [(ms, row) for ms, row in zip(latencies, rows, strict=True) if ms and ms.p50 is not None]
    if not timed:
        return None
    figure, axes = _frame(len(timed), "milliseconds per image")
    seen: list[float] = []
    for y, (ms, row) in enumerate(timed):
        known = _percentiles(ms)
        colour = MUTED if row["name"] == "PyTorch" else ACCENT
        _heading(axes, y, _name(row), " · ".join(f"{key} {row[key]}" for key in known) + " ms")
        values = list(known.values())
        axes.plot([values[0], values[-1]], [y, y], color=colour, lw=2, solid_capstyle="butt")
        for key, value in list(known.items())[1:]:
            axes.plot([value], [y], "|", color=colour, ms=9 if key == "p90" else 15, mew=2)
        axes.plot([values[0]], [y], "o", color=colour, ms=8)
        seen += values
    if max(seen) > LOG_FROM * min(seen) > 0:  # else PyTorch's dot alone would be seen, and all others at 0
        log_axis(axes, min(seen), max(seen))
    else:
        axes.set_xlim(0, 1.04 * max(seen) or 1)
    return inline(figure, "latency", "Latency per runtime in milliseconds; the table has the same numbers")


def drop(record: BundleRecord) -> Markup | None:
    """A row for each artifact: accuracy drop with its interval, and the budget as a line."""
    rows = artifact_table(record).rows[1:]
    known = [(a, row) for a, row in zip(record.artifacts, rows, strict=True) if a.drop_pp is not None]
    if not known:
        return None
    budget = _budget(record)
    figure, axes = _frame(len(known), "accuracy drop, percentage points (right is worse)")
    seen = [0.0] if budget is None else [0.0, budget]
    for y, (artifact, row) in enumerate(known):
        value = artifact.drop_pp or 0.0
        low, high = artifact.drop_ci_pp or (value, value)
        colour = BAD if budget is not None and value > budget else ACCENT
        _heading(axes, y, _name(row), f"{row['drop']} pp")
        axes.plot([low, high], [y, y], "|-", color=colour, lw=2, ms=9, mew=2)
        axes.plot([value], [y], "o", color=colour, ms=8)
        seen += [low, high]
    margin = 0.05 * (max(seen) - min(seen)) or 0.5
    axes.set_xlim(min(seen) - margin, max(seen) + margin)
    axes.axvline(0, color=MUTED, lw=1.2, zorder=0)
    if budget is not None:
        _draw_budget(axes, budget, len(known), right=budget > (min(seen) + max(seen)) / 2)
    label = "Accuracy drop per artifact with its interval; the table has the same numbers"
    return inline(figure, "drop", label)


def sensitivity(record: BundleRecord) -> Markup | None:
    """A bar for each layer, the most sensitive first, as long as that layer alone in INT8 moves the answers. None where
    no ladder had to measure them."""
    layers = ladder_tables.sensitive_layers(record)
    if not layers:
        return None
    figure, axes = _frame(len(layers), "divergence, millinats")
    values = [1000 * layer.divergence for layer in layers]
    for y, (row, value) in enumerate(zip(ladder_tables.layer_table(record).rows, values, strict=True)):
        _heading(axes, y, row["layer"], f"{row['divergence']} · {row['macs']} % of the work")
        axes.plot([0, value], [y, y], color=ACCENT, lw=8, solid_capstyle="butt")
    axes.set_xlim(0, 1.04 * max(values) or 1)
    label = "Divergence that each layer alone in INT8 causes; the table has the same numbers"
    return inline(figure, "sensitivity", label)


def curves(history: Sequence[EpochRecord]) -> tuple[Markup, Markup] | None:
    """Loss (training, validation) and validation accuracy over the epochs of a run; None without epochs.

    Two drawings, so that a phone can stack them. The best epoch has a ring, a change of the stage a dashed line.
    """
    if not history:
        return None
    best = run_tables.best_epoch(history)
    figure, loss = _plane(history, "loss")
    _line(loss, [epoch.train_loss for epoch in history], MUTED, None, "training")
    _line(loss, [epoch.val_loss for epoch in history], ACCENT, best, "validation")
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderpad": 0, "ncols": 2}
    loss.legend(**place, frameon=False, fontsize=12, labelcolor=INK, handlelength=1.4, columnspacing=1.2)
    label = "Training and validation loss over the epochs; the table has the same numbers"
    drawn = inline(figure, "loss", label)

    figure, accuracy = _plane(history, "validation accuracy, %")
    shares = [epoch.val_accuracy for epoch in history]
    _line(accuracy, [None if share is None else 100 * share for share in shares], ACCENT, best)
    if best is not None:
        row = run_tables.epoch_table(history).rows[best]
        text = f"best {row['val_accuracy']} in epoch {row['epoch']}"
        accuracy.text(1, TITLE, text, transform=accuracy.transAxes, ha="right", fontsize=12, color=INK)
    label = "Validation accuracy over the epochs; the table has the same numbers"
    return drawn, inline(figure, "accuracy", label)


def _percentiles(latency: LatencyRecord) -> dict[str, float]:
    """Those that the count of calls supports."""
    found = {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99}
    return {key: value for key, value in found.items() if value is not None}


def _name(row: dict[str, str]) -> str:
    return row["name"] + (_RECOMMENDED if row["result"].endswith("recommended") else "")


def _budget(record: BundleRecord) -> float | None:
    """The accuracy that the recipe allowed to lose, in percentage points; None where the record does not say."""
    match record.provenance.recipe:
        case {"export": {"max_drop": int() | float() as budget}}:
            return float(budget)
    return None


def _draw_budget(axes: Any, budget: float, rows: int, *, right: bool) -> None:
    # Beside each interval alone, so that it crosses no numbers.
    axes.vlines(
        [budget] * rows, [y - 0.16 for y in range(rows)], [y + 0.34 for y in range(rows)], color=BAD, lw=2
    )
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    style = {"ha": "right" if right else "left", "va": "bottom", "color": BAD, "fontsize": 12}
    axes.annotate(f"budget {number(budget)}", (budget, 1), (-5 if right else 5, 2), **place, **style)


def _plane(history: Sequence[EpochRecord], what: str) -> tuple[Figure, Any]:
    height, left, right, top = 250.0, 52.0, 10.0, 32.0
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes(
        (left / WIDTH, BOTTOM / height, 1 - (left + right) / WIDTH, 1 - (BOTTOM + top) / height)
    )
    bare(figure, axes)
    n = len(history)
    axes.set_xlim(0.5, n + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.tick_params(axis="both", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    label_axis(axes, "y", "epoch")
    axes.text(0, TITLE, what, transform=axes.transAxes, fontsize=13, weight="bold", color=INK)
    for i in range(1, n):
        if history[i].stage != history[i - 1].stage:
            axes.axvline(i + 0.5, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=0)
    return figure, axes


def _line(
    axes: Any, values: Sequence[float | None], colour: str, best: int | None, name: str | None = None
) -> None:
    x = range(1, len(values) + 1)  # not the record's epochs: a stage may count from 1 again
    y = [float("nan") if value is None else value for value in values]
    # By its markers too, so that no line is known by its colour alone.
    every = -(-len(x) // 30)
    style = {"marker": "s", "mfc": "none", "lw": 1.4} if name == "training" else {"marker": "o", "lw": 2}
    axes.plot(x, y, color=colour, ms=4.5, markevery=every, label=name, **style)
    if best is not None:
        axes.plot([x[best]], [y[best]], "o", ms=10, mew=2, mec=colour, mfc="none")


def _frame(rows: int, unit: str) -> tuple[Figure, Any]:
    figure, axes = rows_plane(rows, ROW, unit, left=SIDE, right=SIDE, top=TOP + 14)
    axes.set_ylim(rows - 0.6, -0.6)  # each has its heading above its line
    return figure, axes


def _heading(axes: Any, y: int, name: str, numbers: str) -> None:
    # Above the line, not at its end: labels cannot collide however close the dots are.
    place = {"va": "center", "parse_math": False, "transform": axes.get_yaxis_transform(), "color": INK}
    axes.text(0, y - 0.36, name, fontsize=13, weight="bold", **place)
    axes.text(1, y - 0.36, numbers, fontsize=12, ha="right", **place)
