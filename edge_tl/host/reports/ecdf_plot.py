"""How the timed calls are distributed, as an empirical distribution function from the raw samples. Times nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from edge_tl.device.bundle import REFERENCE
from edge_tl.device.format import number, one_line
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.svg import GRID, INK, MUTED, SERIES, heading, inline, label_axis, log_axis, plane

HEIGHT = 340.0
MOST_STEPS = 400  # of one line
MOST_LINES = len(SERIES) + 1
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)))
MARKS = {"p50": (50, "o"), "p95": (95, "s"), "p99": (99, "^")}
EXPLANATION = (
    "The higher a line at a time, the more of the timed calls took no longer. Every call is in it, none was taken out. "
    "Circle: p50; square: p95; triangle: p99, each where the number of calls supports it."
)


def ecdf_plot(record: BundleRecord, bench: BenchResult | None) -> Markup | None:
    """Of PyTorch, the recommended artifact, and others of its kind, as many as can be told apart. None where no samples
    are in the record."""
    rows = _chosen(record, bench) if bench else []
    if not rows:
        return None
    figure, axes = plane(HEIGHT, right=40, top=38 + 19 * ((len(rows) + 1) // 2))
    times = {row.id: sorted_ms(row) for row in rows}
    _scales(axes, list(times.values()))
    colours = iter(zip(SERIES, DASHES, strict=True))
    for row in rows:
        colour, dash = (MUTED, (0, (4, 3))) if row.id == REFERENCE else next(colours)
        best = row.id == record.recommended
        name = "PyTorch" if row.id == REFERENCE else one_line(row.id) + (" ✓" if best else "")
        x, y = steps(times[row.id])
        style = {"color": colour, "ls": dash, "lw": 2.6 if best else 1.8, "zorder": 4 if best else 3}
        axes.plot(x, 100 * y, drawstyle="steps-post", label=name, **style)
        for key, (share, marker) in MARKS.items():
            if (ms := getattr(row.latency_ms, key)) is not None:
                axes.plot([ms], [share], marker, color=colour, ms=7.5, zorder=5)
    _legend(axes)
    heading(axes, "calls that took no longer, %")
    return inline(figure, "ecdf", "Distribution of the latencies", _said(rows))


def sorted_ms(row: ArtifactTiming) -> NDArray[np.float64]:
    """Every timed call in milliseconds, the fastest first."""
    found: NDArray[np.float64] = np.sort(np.concatenate([np.array(block, float) for block in row.samples_ns]))
    return found / 1e6


def steps(ordered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the empirical distribution function of `ordered` `(n,)` steps, and to what share of the calls, with a first
    point at 0; of more than 400 calls evenly spaced ranks, always with the first and the last."""
    n = len(ordered)
    ranks = np.unique(np.linspace(1, n, min(n, MOST_STEPS)).round().astype(np.int64))
    return np.append(ordered[0], ordered[ranks - 1]), np.append(0.0, ranks / n)


def _chosen(record: BundleRecord, bench: BenchResult) -> list[ArtifactTiming]:
    """In the order of the record; those of raw pixels only where the recommended one takes them."""
    timed = {row.id: row for row in bench.artifacts if any(row.samples_ns)}
    best = next((each for each in record.artifacts if each.id == record.recommended), record.artifacts[0])
    rivals = [each.id for each in record.artifacts if each.takes_pixels == best.takes_pixels]
    rivals.sort(key=lambda name: name != best.id)
    first = [name for name in (REFERENCE, *rivals) if name in timed]
    return [timed[name] for name in first[:MOST_LINES]]


def _scales(axes: Any, times: list[NDArray[np.float64]]) -> None:
    label_axis(axes, "x", "milliseconds per image")
    log_axis(axes, min(float(each[0]) for each in times), max(float(each[-1]) for each in times))
    axes.set_ylim(0, 102)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.grid(axis="y", color=GRID, lw=0.8)
    for key, (share, _) in MARKS.items():
        axes.axhline(share, color=MUTED, lw=0.7, zorder=1)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 11.5}
        # The lines of p95 and p99 are nearer than a line of text is high.
        shift = {"p95": -6, "p99": 5}.get(key, 0)
        axes.annotate(key, (1, share), (6, shift), **place, va="center", color=MUTED)


def _legend(axes: Any) -> None:
    above = 30 / (axes.get_position().height * HEIGHT)  # of the heading
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1 + above),
        ncols=2,
        frameon=False,
        fontsize=12,
        labelcolor=INK,
        handlelength=2.6,
        handletextpad=0.5,
        columnspacing=1.6,
        borderaxespad=0,
        borderpad=0,
    )


def _said(rows: list[ArtifactTiming]) -> str:
    each = []
    for row in rows:
        known = [
            f"{key} {number(ms)} ms" for key in MARKS if (ms := getattr(row.latency_ms, key)) is not None
        ]
        name = "PyTorch" if row.id == REFERENCE else one_line(row.id)
        each.append(f"{name}: {', '.join(known) or 'too few calls'}, of {row.latency_ms.n or 0} calls")
    return "; ".join(each) + "."
