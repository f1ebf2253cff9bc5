"""Draw a confusion matrix as inline SVG that takes its colours from the page it stands in.

Must not count an answer or write a file. By hand: labels may be in any script, and matplotlib would measure them in a
font without it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from markupsafe import Markup

from edge_tl.device.format import words

# Upper ends of the heat classes, as shares of a class's images.
SHADES = (0.0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.80, 1.0)


def heatmap(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """Counts, rows = true class, shaded by the share of that class."""
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
