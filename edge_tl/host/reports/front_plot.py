"""Accuracy against latency of PyTorch and the artifacts, with the Pareto front, as inline SVG. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from edge_tl.device.format import number, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.timing import LatencyRecord, OpenInterval
from edge_tl.host.comparison.pareto import Point, pareto_front
from edge_tl.host.reports.label_places import NamedPoint, place_names
from edge_tl.host.reports.svg import (
    ACCENT,
    BAD,
    GRID,
    INK,
    MUTED,
    heading,
    inline,
    label_axis,
    log_axis,
    plane,
)

HEIGHT = 330.0
LOG_FROM = 4.0  # slowest by fastest
ROOM = 1.25  # for names beside the fastest and the slowest
SHAPES = {"pytorch": ("D", "PyTorch"), "onnxruntime": ("o", "ONNX Runtime"), "openvino": ("s", "OpenVINO")}
EXPLANATION = (
    "Up is more accurate, left is faster. Filled: on the Pareto front, so nothing here is at once as accurate and "
    "as fast, and better in one of both; the line joins them. Upright bar: where the accuracy lies by the 95 % "
    "interval of its difference from PyTorch's on the same images. Level bar: the 95 % interval of the median. "
    "✓: recommended."
)


class _Measured(NamedTuple):
    """One point: milliseconds and percent, and their intervals, where they are known."""

    name: str
    family: str
    ms: float
    percent: float
    ms_ci: OpenInterval | None
    percent_ci: tuple[float, float] | None


def front_plot(record: BundleRecord) -> Markup | None:
    """None where fewer than two have both an accuracy and a median. What takes raw pixels preprocesses as well, so it
    is drawn only where nothing takes tensors."""
    points = _measured(record)
    if len(points) < 2:
        return None
    front = _front(points, record.reference.n or 1)
    figure, axes = plane(HEIGHT, top=58)
    budget = _least(record)
    _scales(axes, points, budget)
    bars = _steps(axes, [point for point in points if point.name in front])
    if budget is not None:
        axes.axhline(budget, color=BAD, lw=1.5, ls=(0, (4, 3)), zorder=1)
        bars.append(_box(axes, (axes.get_xlim()[0], budget), (axes.get_xlim()[1], budget)))
    marks = []
    for point in points:
        bars += _draw(axes, point, on_front=point.name in front)
        marks.append(_box(axes, (point.ms, point.percent), (point.ms, point.percent), 6))
    place_names(figure, axes, _names(axes, points, record.recommended), marks, bars)
    heading(axes, "accuracy, %")
    _legend(figure, points, budget)
    return inline(figure, "front", "Accuracy against latency, with the Pareto front", _said(points, front))


def _measured(record: BundleRecord) -> list[_Measured]:
    reference = record.reference
    found = [
        _point("PyTorch", "pytorch", reference.accuracy, reference.latency_ms, None),
    ]
    tensors = [artifact for artifact in record.artifacts if not artifact.takes_pixels]
    for artifact in tensors or record.artifacts:
        ends = None
        if reference.accuracy is not None and artifact.drop_ci_pp is not None:
            low, high = artifact.drop_ci_pp
            ends = (100 * reference.accuracy - high, 100 * reference.accuracy - low)
        found.append(_point(artifact.id, artifact.family.name, artifact.accuracy, artifact.latency_ms, ends))
    return [point for point in found if point is not None]


def _point(
    name: str,
    family: str,
    accuracy: float | None,
    latency: LatencyRecord | None,
    ends: tuple[float, float] | None,
) -> _Measured | None:
    if accuracy is None or latency is None or not latency.p50:
        return None
    return _Measured(name, family, latency.p50, 100 * accuracy, latency.p50_ci, ends)


def _front(points: Sequence[_Measured], n: int) -> set[str]:
    """The names of those that no other beats."""
    asked = [Point(point.name, round(point.percent / 100 * n), n, point.ms) for point in points]
    return {point.name for point in pareto_front(asked)}


def _least(record: BundleRecord) -> float | None:
    """The accuracy in percent that the budget leaves; None where the record does not say."""
    accuracy = record.reference.accuracy
    match record.provenance.recipe:
        case {"export": {"max_drop": int() | float() as allowed}} if accuracy is not None:
            return 100 * accuracy - float(allowed)
    return None


def _scales(axes: Any, points: Sequence[_Measured], budget: float | None) -> None:
    ends = [end for point in points for end in (point.percent_ci or (point.percent, point.percent))]
    ends += [budget] if budget is not None else []
    margin = max(0.08 * (max(ends) - min(ends)), 0.1)
    axes.set_ylim(min(ends) - margin, max(ends) + margin)
    times = [point.ms for point in points]
    label_axis(axes, "y", "median latency, milliseconds per image")
    if max(times) > LOG_FROM * min(times):
        log_axis(axes, min(times) / ROOM, max(times) * ROOM)
    else:
        axes.set_xlim(0, 1.15 * max(times))
    axes.grid(axis="x", color=GRID, lw=0.8)


def _steps(axes: Any, front: Sequence[_Measured]) -> list[Bbox]:
    """The best accuracy at each latency; where its lines are."""
    points = sorted((point.ms, point.percent) for point in front)
    if not points:
        return []
    right = axes.get_xlim()[1]
    xs, ys = zip(*points, strict=True)
    axes.step([*xs, right], [*ys, ys[-1]], where="post", color=ACCENT, lw=1.4, zorder=2)
    ends = [*points[1:], (right, ys[-1])]
    flat = [_box(axes, start, (end[0], start[1])) for start, end in zip(points, ends, strict=True)]
    return flat + [_box(axes, (end[0], start[1]), end) for start, end in pairwise(points)]


def _draw(axes: Any, point: _Measured, *, on_front: bool) -> list[Bbox]:
    """The marker and its intervals; where these are."""
    colour = ACCENT if on_front else MUTED
    low, high = point.ms_ci or (None, None)
    across = (low or point.ms, high or point.ms)
    along = point.percent_ci or (point.percent, point.percent)
    style = {"color": colour, "lw": 1.4, "alpha": 0.7, "zorder": 3, "ms": 7, "mew": 1.4}
    axes.plot(across, [point.percent] * 2, "-", **style)
    axes.plot([point.ms] * 2, along, "_-", **style)
    shape = {"marker": SHAPES[point.family][0], "ms": 8.5, "mec": colour, "mew": 1.8}
    axes.plot([point.ms], [point.percent], mfc=colour if on_front else "none", **shape, zorder=4)
    return [
        _box(axes, (across[0], point.percent), (across[1], point.percent)),
        _box(axes, (point.ms, along[0]), (point.ms, along[1])),
    ]


def _names(axes: Any, points: Sequence[_Measured], recommended: str | None) -> list[NamedPoint]:
    found = []
    for point in sorted(points, key=lambda point: point.name != recommended):
        x, y = axes.transData.transform((point.ms, point.percent))
        best = point.name == recommended
        found.append(NamedPoint(one_line(point.name) + (" ✓" if best else ""), float(x), float(y), best))
    return found


def _box(axes: Any, one: tuple[float, float], other: tuple[float, float], half: float = 2.0) -> Bbox:
    (x0, y0), (x1, y1) = sorted(axes.transData.transform([one, other]).tolist())
    return Bbox.from_extents(x0 - half, min(y0, y1) - half, x1 + half, max(y0, y1) + half)


def _legend(figure: Figure, points: Sequence[_Measured], budget: float | None) -> None:
    """Which shape is whose, and the budget's line: above the axes, where no interval can meet it."""
    there = dict.fromkeys(point.family for point in points)
    shapes = [
        Line2D([], [], ls="", marker=marker, ms=7, mec=INK, mfc="none", mew=1.5, label=label)
        for marker, label in map(SHAPES.__getitem__, there)
    ]
    if budget is not None:
        label = f"budget {number(budget)}"
        shapes.append(Line2D([], [], color=BAD, lw=1.5, ls=(0, (4, 3)), label=label))
    figure.legend(
        handles=shapes,
        loc="upper right",
        bbox_to_anchor=(0.98, 1.0),
        ncols=len(shapes),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handlelength=1.5,
        handletextpad=0.3,
        columnspacing=1.0,
    )


def _said(points: Sequence[_Measured], front: set[str]) -> str:
    each = (
        f"{one_line(point.name)}: {number(point.percent)} % at {number(point.ms)} ms"
        + (", on the front" if point.name in front else "")
        for point in sorted(points, key=lambda point: point.ms)
    )
    return "; ".join(each) + "."
