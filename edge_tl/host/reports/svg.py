"""What all drawings share: their colours, bare axes, and inline SVG that takes its colours from the page it stands in.

Knows no record.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any
from warnings import catch_warnings, filterwarnings

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Stand-in colours that become CSS variables, so that one drawing serves the light and the dark page.
INK, MUTED, GRID, ACCENT, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = ("#060606", "#070707", "#080808", "#090909", "#0a0a0a")
"""Of lines beside each other: after Okabe and Ito, "Color Universal Design", 2008, dark enough for 3:1 on the page."""
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ACCENT: "--accent", BAD: "--bad"} | {
    colour: f"--s{place}" for place, colour in enumerate(SERIES, 1)
}

# SVG user units. Narrow, so that text stays readable where a phone shrinks the drawing.
WIDTH, BOTTOM = 420.0, 46.0


def bare(figure: Figure, axes: Any) -> None:
    """No frame and no background; a line below."""
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.set_axisbelow(True)


def label_axis(axes: Any, axis: str, label: str) -> None:
    """Muted ticks and grid lines of one axis, "x" or "y", and what is measured along x."""
    axes.locator_params(axis=axis, nbins=6)
    axes.grid(axis=axis, color=GRID, lw=0.8)
    axes.set_xlabel(label, color=MUTED, fontsize=12, labelpad=6)


def plane(height: float, *, left: float = 52.0, right: float = 12.0, top: float = 34.0) -> tuple[Figure, Any]:
    """A figure `height` SVG units high, and bare axes in it with room for ticks, a label below and a title above."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    box = (left / WIDTH, BOTTOM / height, 1 - (left + right) / WIDTH, 1 - (BOTTOM + top) / height)
    axes = figure.add_axes(box)
    bare(figure, axes)
    axes.tick_params(axis="both", which="both", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    return figure, axes


def rows_plane(
    rows: int, high: float, unit: str, *, left: float, right: float, top: float
) -> tuple[Figure, Any]:
    """A figure and bare axes in it with so many rows of `high` SVG units, the first on top at y = 0, and `unit` below;
    `top` units above them."""
    height = top + rows * high + BOTTOM
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    box = (left / WIDTH, BOTTOM / height, 1 - (left + right) / WIDTH, rows * high / height)
    axes = figure.add_axes(box)
    bare(figure, axes)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0, pad=6, labelsize=12, labelcolor=MUTED)
    label_axis(axes, "x", unit)
    return figure, axes


def heading(axes: Any, text: str) -> None:
    """What is measured along y, above the axes."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
    axes.annotate(text, (0, 1), (0, 12), **place, fontsize=13, weight="bold", color=INK)


def log_axis(axes: Any, low: float, high: float) -> None:
    """Make x logarithmic from about `low` to about `high`, with plain numbers for ticks."""
    axes.set_xscale("log")
    room = (high / low) ** 0.06 * 1.06
    axes.set_xlim(low / room, high * room)
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0, 3.0) if decades < 2.6 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def inline(figure: Figure, name: str, label: str, description: str = "") -> Markup:
    """The figure as an `<svg>` element; `name` makes its ids its own, `label` is read to those who do not see it, and
    `description`, what they would see, after it."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), catch_warnings():
        # It has no glyph for every script, and needs none: the page's fonts draw the text.
        filterwarnings("ignore", "Glyph .* missing from font")
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
    ids = f"{name}-title" + (f" {name}-text" if description else "")
    head = f'<svg class="plot" role="img" aria-labelledby="{ids}" {box[0] if box else ""}>'
    head += f'<title id="{name}-title">{escape(label)}</title>'
    head += f'<desc id="{name}-text">{escape(description)}</desc>' if description else ""
    return Markup(head + svg[svg.index(">") + 1 :])
