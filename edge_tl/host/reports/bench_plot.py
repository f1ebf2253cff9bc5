"""Draw saved benches, a panel per artifact and way of timing: the median with its interval by date, machines by colour.

Computes nothing: ratios and intervals come from `edge_tl.device.bench.compare_results`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from edge_tl.device.bench.results import BACK_TO_BACK
from edge_tl.device.errors import BadInput
from edge_tl.device.files import write_atomic
from edge_tl.device.own_results import MAKER
from edge_tl.device.records.bench_comparison import ComparedRow, ResultsComparison

COLOURS = ("#0b62a8", "#ad3d06", "#3b7a3b", "#7a4da0", "#596575", "#a38000")
MARKERS = "osD^vP"
WIDTH, PANEL, EDGE = 640.0, 150.0, 64.0


def write_bench_plot(found: ResultsComparison, path: Path) -> None:
    """Write an SVG or PNG, by the suffix of `path`, atomically. Raises `BadInput` if there is nothing to draw."""
    order = sorted(range(len(found.files)), key=lambda number: found.files[number].date)
    machines = list(dict.fromkeys(found.files[number].machine for number in order))
    timed = [row for row in found.rows if row.latency_ms.p50 is not None]
    # By how, not by figure: the line of one rate does not go on at another.
    panes = list(dict.fromkeys((row.artifact, row.how) for row in timed))
    if not panes:
        raise BadInput("--plot: no artifact has a median. Bench again with 11 calls or more.")
    height = EDGE + PANEL * len(panes) + EDGE
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    panels = figure.subplots(len(panes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (artifact, how) in zip(panels, panes, strict=True):
        for number, machine in enumerate(machines):
            rows = [
                row
                for row in timed
                if (row.artifact, row.how) == (artifact, how) and found.files[row.number].machine == machine
            ]
            if rows:
                rows.sort(key=lambda row: order.index(row.number))
                _draw_machine(axes, number, machine, [order.index(row.number) for row in rows], rows)
        title = artifact if how == BACK_TO_BACK else f"{artifact}, {how}"
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("p50, ms")
        axes.grid(axis="y", color="#dce1e7", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    dates = [found.files[number].date[:16].replace("T", "\n") for number in order]
    panels[-1].set_xticks(range(len(order)), dates)
    panels[-1].set_xlim(-0.5, len(order) - 0.5)
    handles = {h.get_label(): h for axes in panels for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", fontsize=9, frameon=False)
    drawn = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        # By its maker's name the next drawing knows that it may replace this one.
        metadata = {"Date": None, "Creator": MAKER} if path.suffix == ".svg" else {"Software": MAKER}
        figure.savefig(drawn, format=path.suffix[1:], dpi=144, metadata=metadata)
    write_atomic(path, drawn.getvalue())


def _draw_machine(
    axes: Any, number: int, machine: str, places: Sequence[int], rows: Sequence[ComparedRow]
) -> None:
    """The medians of one machine with their intervals; an end that is not known has no whisker."""
    medians = [row.latency_ms.p50 or 0.0 for row in rows]
    ends = [row.latency_ms.p50_ci or (None, None) for row in rows]
    below = [m - (m if low is None else low) for m, (low, _) in zip(medians, ends, strict=True)]
    above = [(m if high is None else high) - m for m, (_, high) in zip(medians, ends, strict=True)]
    axes.errorbar(
        places,
        medians,
        yerr=[below, above],
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        capsize=4,
        label=machine,
    )
