"""Draw a record as inline SVG that takes its colours from the page it stands in.

Must not format a number of the record (target.tables does) or write a file.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from edge_tl.target.tables import DASH, number, table, words

# Stand-in colours that become CSS variables, so that one drawing serves the light and the dark page.
INK, MUTED, GRID, ACCENT, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ACCENT: "--accent", BAD: "--bad"}

# SVG user units. Narrow, so that text stays readable where a phone shrinks the drawing.
WIDTH, ROW, TOP, BOTTOM, SIDE = 420.0, 44.0, 8.0, 46.0, 14.0
# Upper ends of the heat classes, as shares of a class's images.
SHADES = (0.0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.80, 1.0)


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
    return _inline(figure, "latency", "Latency per runtime in milliseconds; the table has the same numbers")


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
    return _inline(
        figure, "drop", "Accuracy drop per artifact with its interval; the table has the same numbers"
    )


def heatmap(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """Counts, rows = true class, shaded by the share of that class.

    Drawn by hand: labels may be in any script, and matplotlib would measure them in a font without it.
    """
    names = [words(label) for label in labels]
    wide = 8.5 * max(_columns(_shorten(name)) for name in names)
    digits = max(len(str(n)) for row in confusion for n in row)
    cell = max(30 if len(names) > 8 else 46, 9 * digits + 4)
    left, top, size = wide + 36, 0.72 * wide + 40, cell * len(names)
    width, height = left + size + max(0.72 * wide - cell / 2, 0) + 8, top + size + 4
    parts = [_text("predicted", left + size / 2, 14, "middle", role="axis")]
    parts += [_text("true", 14, top + size / 2, "middle", turn=-90, role="axis")]
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        parts += [_text(_shorten(name), left - 8, top + middle + 5, "end", title=name)]
        parts += [_text(_shorten(name), left + middle + 3, top - 8, "start", turn=-45, title=name)]
    blank = "" if len(names) > 8 else "0"  # in a large matrix the zeros hide the errors
    square = Markup('<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}"/>')
    for i, row in enumerate(confusion):
        for j, n in enumerate(row):
            x, y = left + j * cell, top + i * cell
            shade = f"h{_shade(n / (sum(row) or 1))}{' diagonal' if i == j else ''}"
            title = f"{names[i]} predicted as {names[j]}: {n:,}"
            count = _text(str(n or blank), x + cell / 2, y + cell / 2 + 5, "middle", title=title)
            box = square.format(x + 1, y + 1, cell - 2, cell - 2)
            parts += [Markup('<g class="{}">{}{}</g>').format(shade, box, count)]
    head = '<svg class="heat" role="img" aria-label="Confusion matrix" viewBox="0 0 {:.0f} {:.0f}" {}>'
    style = Markup('style="width:{:.0f}px;min-width:{:.0f}px"').format(width, 0.75 * width)
    return Markup(head).format(width, height, style) + Markup("").join(parts) + Markup("</svg>")


def _frame(rows: int, unit: str) -> tuple[Figure, Any]:
    height = TOP + 14 + rows * ROW + BOTTOM
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes((SIDE / WIDTH, BOTTOM / height, 1 - 2 * SIDE / WIDTH, rows * ROW / height))
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    axes.set_ylim(rows - 0.6, -0.6)  # the first row on top, each with its heading above its line
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="x", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(unit, color=MUTED, fontsize=12, labelpad=6)
    return figure, axes


def _heading(axes: Any, y: int, row: dict[str, str], numbers: str) -> None:
    # Above the line, not at its end: labels cannot collide however close the dots are.
    place = {"va": "center", "parse_math": False, "transform": axes.get_yaxis_transform(), "color": INK}
    mark = " ✓" if row["verdict"].endswith("recommended") else ""
    axes.text(0, y - 0.36, row["name"] + mark, fontsize=13, weight="bold", **place)
    axes.text(1, y - 0.36, numbers, fontsize=12, ha="right", **place)


def _inline(figure: Figure, name: str, label: str) -> Markup:
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


def _text(
    text: str, x: float, y: float, anchor: str, *, turn: int = 0, role: str = "label", title: str = ""
) -> Markup:
    place = f"translate({x:.1f} {y:.1f})" + (f" rotate({turn})" if turn else "")
    hint = Markup("<title>{}</title>").format(title) if title else ""
    form = Markup('<text class="{}" transform="{}" text-anchor="{}">{}{}</text>')
    return form.format(role, place, anchor, hint, text)


def _shade(share: float) -> int:
    return next(i for i, end in enumerate(SHADES) if share <= end)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shorten(text: str) -> str:
    """At most 16 columns, cut in the middle: labels often differ only at their ends."""
    if _columns(text) <= 16:
        return text
    head, tail = text, text
    while _columns(head) > 8:
        head = head[:-1]
    while _columns(tail) > 7:
        tail = tail[1:]
    return f"{head}…{tail}"
