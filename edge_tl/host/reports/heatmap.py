"""A confusion matrix as inline SVG that takes its colours from the page it stands in. Counts no answer.

Drawn without matplotlib: labels may be in any script, and it would measure them in a font without it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from edge_tl.device.format import one_line

# Upper ends of the heat classes, as shares of a class's images.
SHADES = (0.0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.80, 1.0)


def heatmap(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """Counts, rows = true class, shaded by the share of that class."""
    names = [one_line(label) for label in labels]
    wide = 8.5 * max(_columns(_shorten(name)) for name in names)
    digits = max(len(str(n)) for row in confusion for n in row)
    cell = max(30 if len(names) > 8 else 46, 9 * digits + 4)
    left, top, size = wide + 36, 0.72 * wide + 40, cell * len(names)
    width, height = left + size + max(0.72 * wide - cell / 2, 0) + 8, top + size + 4
    parts = [_text(_Place(left + size / 2, 14, "middle"), "predicted", role="axis")]
    parts += [_text(_Place(14, top + size / 2, "middle", -90), "true", role="axis")]
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        parts += [_text(_Place(left - 8, top + middle + 5, "end"), _shorten(name), hint=name)]
        parts += [_text(_Place(left + middle + 3, top - 8, "start", -45), _shorten(name), hint=name)]
    blank = "" if len(names) > 8 else "0"  # in a large matrix the zeros hide the errors
    square = Markup('<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}"/>')
    for i, row in enumerate(confusion):
        for j, n in enumerate(row):
            x, y = left + j * cell, top + i * cell
            shade = f"h{_shade(n / (sum(row) or 1))}{' diagonal' if i == j else ''}"
            place = _Place(x + cell / 2, y + cell / 2 + 5, "middle")
            count = _text(place, str(n or blank), hint=f"{names[i]} predicted as {names[j]}: {n:,}")
            box = square.format(x + 1, y + 1, cell - 2, cell - 2)
            parts += [Markup('<g class="{}">{}{}</g>').format(shade, box, count)]
    head = '<svg class="heat" role="img" aria-label="Confusion matrix" viewBox="0 0 {:.0f} {:.0f}" {}>'
    style = Markup('style="width:{:.0f}px"').format(width)  # less where there is less room
    return Markup(head).format(width, height, style) + Markup("").join(parts) + Markup("</svg>")


class _Place(NamedTuple):
    """Where a text stands, in SVG user units, which end of it, and by how many degrees it is turned."""

    x: float
    y: float
    anchor: str
    turn: int = 0


def _text(place: _Place, text: str, *, role: str = "label", hint: str = "") -> Markup:
    where = f"translate({place.x:.1f} {place.y:.1f})" + (f" rotate({place.turn})" if place.turn else "")
    title = Markup("<title>{}</title>").format(hint) if hint else ""
    form = Markup('<text class="{}" transform="{}" text-anchor="{}">{}{}</text>')
    return form.format(role, where, place.anchor, title, text)


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
