"""Draw a comparison, accuracy against latency, as inline SVG or as a file of its own.

Chooses nothing and writes no file: front, pick and budget come from the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from matplotlib.transforms import Bbox, ScaledTranslation

from edge_tl.device.format import one_line
from edge_tl.host.comparison.pareto import Budget
from edge_tl.host.comparison.record import ComparedTrial, ComparisonRecord
from edge_tl.host.reports.label_places import NamedPoint, place_names
from edge_tl.host.reports.svg import ACCENT, BAD, BOTTOM, GRID, INK, MUTED, bare, inline

# SVG user units, as in `plots`.
WIDTH, HEIGHT, LEFT, RIGHT, TOP = 560.0, 380.0, 46.0, 14.0, 40.0
BESIDE, SPREAD = 7.0, 24.0  # between trials of one model, and of all of them at most
LOG_FROM = 8.0  # slowest by fastest
MARKERS = {"head": "o", "full": "s", "lp-ft": "^", "partial": "D", "gradual": "v", "auto": "P"}
CARD = "--card"
COLOURS = {
    "light": {"--ink": "#1b2430", "--muted": "#596575", "--line": "#dce1e7", CARD: "#ffffff"}
    | {"--accent": "#0b62a8", "--bad": "#ad3d06"},
    "dark": {"--ink": "#e7ecf2", "--muted": "#a3aebb", "--line": "#343d48", CARD: "#1a2027"}
    | {"--accent": "#6db3f2", "--bad": "#f29a66"},
}


def draw_comparison(record: ComparisonRecord) -> Markup | None:
    """Every finished trial whose latency is known; None if there is none."""
    trials = [trial for trial in record.trials if trial.p50_ms is not None]
    if not trials:
        return None
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    box = (LEFT / WIDTH, BOTTOM / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (BOTTOM + TOP) / HEIGHT)
    axes = figure.add_axes(box)
    bare(figure, axes)
    _scales(axes, trials, record.budget)
    _budget(axes, record.budget)
    bars = _steps(axes, [trial for trial in trials if trial.front])
    marks: list[Bbox] = []
    best: dict[str, tuple[ComparedTrial, float, float]] = {}
    for model, group in groupby(sorted(trials, key=lambda t: t.model), key=lambda t: t.model):
        beside = list(group)
        gap = min(BESIDE, SPREAD / max(len(beside) - 1, 1))
        for i, trial in enumerate(beside):
            shift = (i - (len(beside) - 1) / 2) * gap
            bar, x, y = _trial(figure, axes, trial, shift, picked=trial.name == record.pick)
            bars.append(bar)
            marks.append(Bbox.from_bounds(x - 6, y - 6, 12, 12))
            if model not in best or (trial.val_accuracy or 0.0) > (best[model][0].val_accuracy or 0.0):
                best[model] = trial, x, y
    place_names(figure, axes, _names(list(best.values()), record.pick), marks, bars)
    _legend(axes, trials)
    label = "Validation accuracy against latency of every trial; the table has the same numbers"
    drawn = inline(figure, "compare", label)
    return drawn.replace(Markup('class="plot"'), Markup('class="plot wide"'), 1)


def standalone(drawn: Markup) -> str:
    """The drawing as an SVG document with colours for light and for dark of its own."""
    light, dark = (";".join(f"{k}:{v}" for k, v in COLOURS[name].items()) for name in ("light", "dark"))
    style = (
        f"<style>svg{{{light};background:var({CARD})}}"
        f"@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
        "text{font-family:system-ui,'Segoe UI',Roboto,'Liberation Sans',sans-serif!important;"
        f"paint-order:stroke;stroke:var({CARD});stroke-width:4px}}</style>"
    )
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{WIDTH:g}" height="{HEIGHT:g}" '
    )
    text = "".join((head, drawn.removeprefix("<svg ")))  # "+" with Markup would escape the head
    at = text.index(">") + 1
    return text[:at] + style + text[at:] + "\n"


def _scales(axes: Any, trials: Sequence[ComparedTrial], budget: Budget) -> None:
    times = [(trial.p50_ms or 0.0) for trial in trials]
    low = min(trial.interval[0] for trial in trials if trial.interval)
    high = max(trial.interval[1] for trial in trials if trial.interval)
    if budget.min_accuracy is not None:
        low, high = min(low, budget.min_accuracy), max(high, budget.min_accuracy)
    if budget.max_latency_ms is not None:
        times.append(budget.max_latency_ms)
    margin = 100 * max(high - low, 0.01) * 0.06
    axes.set_ylim(100 * low - margin, min(100 * high + margin, 101.5))
    if max(times) > LOG_FROM * min(times):
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 1.6, max(times) * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
    else:
        axes.set_xlim(0, 1.18 * max(times))
        axes.locator_params(axis="x", nbins=8)
    axes.locator_params(axis="y", nbins=7)
    axes.tick_params(axis="both", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    axes.grid(color=GRID, lw=0.8)
    axes.set_xlabel("median latency, milliseconds per image", color=MUTED, fontsize=12, labelpad=6)
    place = {"transform": axes.transAxes, "fontsize": 13, "weight": "bold", "color": INK}
    axes.text(0, 1 + 24 / (HEIGHT - BOTTOM - TOP), "validation accuracy, %", **place)


def _budget(axes: Any, budget: Budget) -> None:
    limit, least = budget.max_latency_ms, budget.min_accuracy
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if limit is None and least is None:
        return
    x, y = right if limit is None else limit, bottom if least is None else 100 * least
    axes.fill_between([left, x], y, top, color=ACCENT, alpha=0.08, lw=0, zorder=0)
    for value, line in ((limit, axes.axvline), (least, axes.axhline)):
        if value is not None:
            at = value if value is limit else 100 * value
            line(at, color=BAD, lw=1.3, ls=(0, (4, 3)), zorder=1)
    words_of = [f"{limit:g} ms"] if limit is not None else []
    words_of += [f"{100 * least:g} %"] if least is not None else []
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "ha": "right"}
    axes.annotate(f"budget {', '.join(words_of)}", (1, 1), (0, 24), **place, color=BAD, fontsize=12)


def _steps(axes: Any, front: Sequence[ComparedTrial]) -> list[Bbox]:
    """The best accuracy at each latency; where its lines are, in points."""
    points = sorted(((trial.p50_ms or 0.0), 100 * (trial.val_accuracy or 0.0)) for trial in front)
    if not points:
        return []
    xs, ys = zip(*points, strict=True)
    axes.step([*xs, axes.get_xlim()[1]], [*ys, ys[-1]], where="post", color=ACCENT, lw=1.4, zorder=2)
    corners = axes.transData.transform([*points, (axes.get_xlim()[1], ys[-1])])
    boxes = []
    for (x, y), (after, above) in pairwise(corners):
        boxes += [
            Bbox.from_extents(x, y - 2, after, y + 2),
            Bbox.from_extents(after - 2, y, after + 2, above),
        ]
    return boxes


def _trial(
    figure: Figure, axes: Any, trial: ComparedTrial, shift: float, *, picked: bool
) -> tuple[Bbox, float, float]:
    """One marker and its interval, `shift` points to the right; where they are, in points."""
    place = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    x, y = (trial.p50_ms or 0.0), 100 * (trial.val_accuracy or 0.0)
    ends = [100 * end for end in trial.interval or (0.0, 0.0)]
    colour = ACCENT if trial.front else MUTED
    axes.plot([x, x], ends, color=colour, lw=1, alpha=0.55, transform=place, zorder=2)
    style = {"marker": MARKERS.get(trial.strategy, "X"), "ms": 7.5, "mec": colour, "mew": 1.6}
    axes.plot(
        [x], [y], color=colour, mfc=colour if trial.front else "none", **style, transform=place, zorder=4
    )
    if picked:
        axes.plot([x], [y], "o", ms=16, mfc="none", mec=INK, mew=1.6, transform=place, zorder=5)
    (px, low), (_, middle), (_, high) = (place.transform((x, value)) for value in (ends[0], y, ends[1]))
    return Bbox.from_extents(px - 1, low, px + 1, high), float(px), float(middle)


def _names(best: Sequence[tuple[ComparedTrial, float, float]], pick: str | None) -> list[NamedPoint]:
    """The name of each model; the pick's in bold, placed first."""
    ordered = sorted(best, key=lambda b: (b[0].name != pick, -(b[0].val_accuracy or 0.0)))
    return [
        NamedPoint(one_line(trial.name if trial.name == pick else trial.model), x, y, trial.name == pick)
        for trial, x, y in ordered
    ]


def _legend(axes: Any, trials: Sequence[ComparedTrial]) -> None:
    there = dict.fromkeys(trial.strategy for trial in trials)
    shapes = [
        Line2D([], [], ls="", marker=MARKERS.get(s, "X"), ms=7, mec=MUTED, mfc="none", mew=1.5, label=s)
        for s in there
    ]
    place: dict[str, Any] = {
        "loc": "lower left",
        "bbox_to_anchor": (0, 1),
        "borderpad": 0,
        "ncols": len(shapes),
    }
    axes.legend(
        handles=shapes,
        **place,
        frameon=False,
        fontsize=12,
        labelcolor=INK,
        handlelength=1.0,
        handletextpad=0.2,
        columnspacing=1.2,
        borderaxespad=0.3,
    )
