"""Where the names of points stand in a drawing: where they cover nothing, or least. Draws nothing but the names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from edge_tl.host.reports.svg import INK, MUTED

# Where a name may stand, in points from its marker: beside it, above, below, then farther, with a line to it.
PLACES = (
    (10, 0, "left", "center"),
    (-10, 0, "right", "center"),
    (0, 11, "center", "bottom"),
    (0, -11, "center", "top"),
    (10, 12, "left", "bottom"),
    (-10, 12, "right", "bottom"),
    (10, -12, "left", "top"),
    (-10, -12, "right", "top"),
    (22, 28, "left", "bottom"),
    (-22, 28, "right", "bottom"),
    (22, -28, "left", "top"),
    (-22, -28, "right", "top"),
    (30, 52, "left", "bottom"),
    (-30, 52, "right", "bottom"),
    (30, -52, "left", "top"),
    (-30, -52, "right", "top"),
    (40, -80, "left", "top"),
    (-40, -80, "right", "top"),
    (40, 80, "left", "bottom"),
    (-40, 80, "right", "bottom"),
)
NEAR = 20  # points; a name farther away gets a line


class NamedPoint(NamedTuple):
    """A name and the middle of its marker, in pixels of the figure at 72 dpi, which are points."""

    text: str
    x: float
    y: float
    bold: bool = False


def place_names(
    figure: Figure, axes: Any, points: Sequence[NamedPoint], marks: Sequence[Bbox], bars: Sequence[Bbox]
) -> None:
    """Draw the names in their order. None leaves the axes or covers one of the `marks` if that can be helped, nor
    another name; to cross a line, of the `bars`, is a hundredth as bad."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    inside, taken = axes.get_window_extent(renderer), list[Bbox]()
    for point in points:
        tried: list[tuple[float, int, Any, Bbox]] = []
        for place in PLACES:
            note = _note(axes, point, place)
            box = _extent(note, renderer)
            outside = box.width * box.height - _shared(box, inside)
            cost = 100 * outside + 10 * sum(_shared(box, b) for b in taken)
            cost += 100 * sum(_shared(box, b) for b in marks) + sum(_shared(box, b) for b in bars)
            tried.append((cost, len(tried), note, box))
        _, _, _, box = kept = min(tried, key=lambda entry: entry[:2])
        for entry in tried:
            if entry is not kept:
                entry[2].remove()
        taken.append(box)


def _note(axes: Any, point: NamedPoint, place: tuple[int, int, str, str]) -> Any:
    dx, dy, across, along = place
    far = max(abs(dx), abs(dy)) > NEAR
    return axes.annotate(
        point.text,
        (point.x, point.y),
        (dx + (4 * (dx > 0) - 4 * (dx < 0) if point.bold else 0), dy),
        xycoords="figure pixels",
        textcoords="offset points",
        ha=across,
        va=along,
        fontsize=12.5,
        weight="bold" if point.bold else "normal",
        color=INK,
        parse_math=False,
        arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.8, "shrinkA": 0, "shrinkB": 6}
        if far
        else None,
        zorder=6,
    )


def _extent(note: Any, renderer: Any) -> Bbox:
    """Of the text alone: an annotation's own holds its line too, which crosses what it likes."""
    note.update_positions(renderer)
    extent: Bbox = Text.get_window_extent(note, renderer)
    return extent


def _shared(a: Bbox, b: Bbox) -> float:
    both = Bbox.intersection(a, b)
    return 0.0 if both is None else float(both.width * both.height)
