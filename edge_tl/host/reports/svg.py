"""What all drawings share: their colours, bare axes, and inline SVG that takes its colours from the page it stands in.

Knows no record.
"""

from __future__ import annotations

import io
import re
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

# Stand-in colours that become CSS variables, so that one drawing serves the light and the dark page.
INK, MUTED, GRID, ACCENT, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ACCENT: "--accent", BAD: "--bad"}

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


def inline(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an `<svg>` element; `name` makes its ids its own, `label` is read to those who do not see it."""
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
