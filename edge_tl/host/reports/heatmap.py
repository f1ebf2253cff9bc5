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
SIGNED = (0.01, 0.03, 1.0)  # the same of a difference, of either sign
MANY = 8  # classes


def heatmap(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], owner: str = "", *, key: str = "own"
) -> Markup:
    """Counts, rows = true class, shaded by the share of that class; `key` makes its ids its own."""
    images = [sum(row) or 1 for row in confusion]
    blank = "" if len(labels) > MANY else "0"  # in a large matrix the zeros hide the errors
    drawn = _Matrix(
        labels=[one_line(label) for label in labels],
        texts=[[str(n or blank) for n in row] for row in confusion],
        shades=[[f"h{_shade(n / total)}" for n in row] for row, total in zip(confusion, images, strict=True)],
        hints=[[f"{n:,}" for n in row] for row in confusion],
    )
    right, total = sum(row[i] for i, row in enumerate(confusion)), sum(map(sum, confusion))
    said = f"{right:,} of {total:,} images on the diagonal, answered right."
    return _draw(
        drawn, f"matrix-{key}", f"Confusion matrix of {owner}" if owner else "Confusion matrix", said
    )


def difference(
    changes: Sequence[Sequence[int]], images: Sequence[int], labels: Sequence[str], owner: str
) -> Markup:
    """How many images more or fewer, rows = true class, with a sign and in one of two hues, deeper by the share of the
    class's `images`."""
    signed = [[f"{n:+d}".replace("-", "\N{MINUS SIGN}") if n else "" for n in row] for row in changes]
    drawn = _Matrix(
        labels=[one_line(label) for label in labels],
        texts=signed,
        shades=[
            [_signed_shade(n, total or 1) for n in row] for row, total in zip(changes, images, strict=True)
        ],
        hints=[[text or "no change" for text in row] for row in signed],
    )
    moved = sum(n for row in changes for n in row if n > 0)
    return _draw(drawn, "matrix-difference", f"Confusion matrix of {owner}", f"{moved:,} images moved.")


class _Matrix(NamedTuple):
    """What stands in every cell, its classes for the style, and what is said of it."""

    labels: Sequence[str]
    texts: Sequence[Sequence[str]]
    shades: Sequence[Sequence[str]]
    hints: Sequence[Sequence[str]]


def _draw(matrix: _Matrix, key: str, title: str, said: str) -> Markup:
    names = matrix.labels
    wide = 8.5 * max(_columns(shorten_label(name)) for name in names)
    digits = max(len(text) for row in matrix.texts for text in row)
    cell = max(30 if len(names) > MANY else 46, 9 * digits + 4)
    left, top, size = wide + 36, 0.72 * wide + 40, cell * len(names)
    width, height = left + size + max(0.72 * wide - cell / 2, 0) + 8, top + size + 4
    parts = [_text(_Place(left + size / 2, 14, "middle"), "predicted", role="axis")]
    parts += [_text(_Place(14, top + size / 2, "middle", -90), "true", role="axis")]
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        parts += [_text(_Place(left - 8, top + middle + 5, "end"), shorten_label(name), hint=name)]
        parts += [_text(_Place(left + middle + 3, top - 8, "start", -45), shorten_label(name), hint=name)]
    square = Markup('<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}"/>')
    for i, texts in enumerate(matrix.texts):
        for j, text in enumerate(texts):
            x, y = left + j * cell, top + i * cell
            shade = f"{matrix.shades[i][j]}{' diagonal' if i == j else ''}"
            place = _Place(x + cell / 2, y + cell / 2 + 5, "middle")
            hint = f"{names[i]} predicted as {names[j]}: {matrix.hints[i][j]}"
            box = square.format(x + 1, y + 1, cell - 2, cell - 2)
            parts += [Markup('<g class="{}">{}{}</g>').format(shade, box, _text(place, text, hint=hint))]
    head = Markup(
        '<svg class="heat" role="img" aria-labelledby="{0}-title {0}-text" viewBox="0 0 {1:.0f} {2:.0f}" '
        'style="width:{1:.0f}px"><title id="{0}-title">{3}</title><desc id="{0}-text">{4}</desc>'
    ).format(key, width, height, title, said)
    return head + Markup("").join(parts) + Markup("</svg>")


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


def _signed_shade(change: int, images: int) -> str:
    if not change:
        return "h0"
    depth = next((i for i, end in enumerate(SIGNED, 1) if abs(change) / images <= end), len(SIGNED))
    return f"{'more' if change > 0 else 'fewer'}{depth}"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten_label(text: str) -> str:
    """At most 16 columns, cut in the middle: labels often differ only at their ends."""
    if _columns(text) <= 16:
        return text
    head, tail = text, text
    while _columns(head) > 8:
        head = head[:-1]
    while _columns(tail) > 7:
        tail = tail[1:]
    return f"{head}…{tail}"
