"""Whether probabilities come true, as a reliability diagram: how often answers of a confidence are right, with the
number of them. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from edge_tl.device.format import number, one_line
from edge_tl.device.metrics import wilson_interval
from edge_tl.device.records.accuracy import ConfidenceBin, ConfidenceRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.class_comparison import compared_artifact
from edge_tl.host.reports.svg import BOTTOM, GRID, INK, MUTED, SERIES, WIDTH, bare, heading, inline

HEIGHT, LEFT, RIGHT, TOP, COUNTS = 450.0, 52.0, 12.0, 76.0, 78.0
EXPLANATION = (
    "On the dashed line probabilities come true: of the answers given with 80 %, 80 % are right; below it the model is "
    "too sure of itself. Each point is a bin of confidence, its bar the 95 % interval (Wilson) of how many are right. "
    "ECE: the mean distance from the line, bins weighted by their images. Below: images in each bin."
)


def reliability_plots(record: BundleRecord) -> list[Markup]:
    """Of PyTorch and of the recommended artifact, where their bins are in the record."""
    owners = [("pytorch", "PyTorch", record.reference.confidence)]
    if artifact := compared_artifact(record):
        best = " ✓" if artifact.id == record.recommended else ""
        owners.append(("artifact", one_line(artifact.id) + best, artifact.confidence))
    return [_plot(key, name, found) for key, name, found in owners if found and found.bins]


def _plot(key: str, name: str, found: ConfidenceRecord) -> Markup:
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    wide, bottom = 1 - (LEFT + RIGHT) / WIDTH, (BOTTOM + COUNTS + 14) / HEIGHT
    axes = figure.add_axes((LEFT / WIDTH, bottom, wide, 1 - bottom - TOP / HEIGHT))
    counts = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, wide, COUNTS / HEIGHT))
    for each in (axes, counts):
        bare(figure, each)
        each.tick_params(axis="both", length=0, pad=6, labelsize=12, labelcolor=MUTED)
        each.set_xlim(0, 100)
        each.grid(color=GRID, lw=0.8)
    axes.set_ylim(0, 102)
    axes.tick_params(labelbottom=False)
    counts.locator_params(axis="y", nbins=3, integer=True)
    counts.set_xlabel("confidence, %", color=MUTED, fontsize=12, labelpad=6)
    axes.plot([0, 100], [0, 100], color=MUTED, lw=1.3, ls=(0, (4, 3)), zorder=1)
    _draw_counts(counts, found.bins)
    calibrated = found.temperature != 1.0 and found.bins_before
    if calibrated:
        style = {"color": SERIES[1], "marker": "s", "mfc": "none"}
        _draw(axes, found.bins_before, style, f"before, ECE {number(found.ece_before, 2, 100)} %")
    label = f"{'after dividing logits by ' + number(found.temperature) + ', ' if calibrated else ''}"
    _draw(axes, found.bins, {"color": SERIES[0], "marker": "o"}, f"{label}ECE {number(found.ece, 2, 100)} %")
    heading(axes, f"{name}: right, %")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1 + 30 / (axes.get_position().height * HEIGHT)),
        frameon=False,
        fontsize=12,
        labelcolor=INK,
        handletextpad=0.4,
        borderaxespad=0,
        borderpad=0,
    )
    counts.set_ylabel("images", color=MUTED, fontsize=12)
    return inline(figure, f"reliability-{key}", f"Reliability diagram of {name}", _said(found.bins))


def _draw(axes: Any, bins: Sequence[ConfidenceBin], style: dict[str, str], label: str) -> None:
    """A point for each bin with images, at the mean confidence in it."""
    known = [each for each in bins if each[0]]
    x = [100 * confidence for _, _, confidence in known]
    y = [100 * right / n for n, right, _ in known]
    for at, (n, right, _) in zip(x, known, strict=True):
        low, high = wilson_interval(right, n)
        axes.plot([at, at], [100 * low, 100 * high], color=style["color"], lw=1.2, alpha=0.6, zorder=2)
    axes.plot(x, y, ls="-", lw=1.6, ms=6.5, mew=1.5, label=label, zorder=3, **style)


def _draw_counts(axes: Any, bins: Sequence[ConfidenceBin]) -> None:
    wide = 100 / len(bins)
    for i, (n, _, _) in enumerate(bins):
        axes.bar([(i + 0.5) * wide], [n], width=wide * 0.86, color=SERIES[0], alpha=0.85)
        if n:
            place = {"xycoords": "data", "textcoords": "offset points", "fontsize": 10}
            axes.annotate(f"{n:,}", ((i + 0.5) * wide, n), (0, 2), **place, ha="center", color=INK)
    axes.set_ylim(0, 1.3 * max(n for n, _, _ in bins))


def _said(bins: Sequence[ConfidenceBin]) -> str:
    wide = 100 / len(bins)
    each = (
        f"{number(i * wide, 0)} to {number((i + 1) * wide, 0)} %: {right} of {n} right"
        for i, (n, right, _) in enumerate(bins)
        if n
    )
    return "; ".join(each) + "."
