"""Where the time of one prediction goes, from the file to the label, as a bar for each artifact. Times nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.device.records.bench import BenchResult, StepLatencies
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.svg import INK, SERIES, WIDTH, inline, rows_plane
from edge_tl.host.reports.table import Column, Table

SIDE, ROW, KEY, TOP = 14.0, 58.0, 20.0, 8.0
STAGES = {
    "decode": "decode the file",
    "resize": "resize and crop",
    "normalize": "normalize",
    "inference": "inference",
    "postprocess": "softmax, best answers",
}
_COLUMNS = (
    Column("name", "artifact", False),
    *(Column(key, f"{text}, ms") for key, text in STAGES.items()),
    Column("whole", "all of it, ms [interval]"),
)
EXPLANATION = (
    "The median of each step on the golden images; all of it was timed as one, so the steps need not add up to it. An "
    "artifact of raw pixels resizes and normalizes inside inference."
)


class _Bar(NamedTuple):
    """The medians of the steps in milliseconds, in order, and of all of them, timed as one."""

    id: str
    name: str
    ms: dict[str, float]
    whole: float | None


def stages_plot(record: BundleRecord, bench: BenchResult | None) -> Markup | None:
    """None where no bench timed the steps: `edge-tl bench --parts` does."""
    bars = _bars(record, bench)
    if not bars:
        return None
    figure, axes = rows_plane(
        len(bars), ROW, "milliseconds per image", left=SIDE, right=SIDE, top=TOP + KEY * 3
    )
    longest = max(sum(bar.ms.values()) for bar in bars)
    axes.set_xlim(0, longest * 1.02)
    for y, bar in enumerate(bars):
        _draw(axes, y, bar, longest)
    _legend(figure)
    return inline(figure, "stages", "The steps of one prediction", _said(bars))


def stages_table(record: BundleRecord, bench: BenchResult | None) -> Table:
    """The same as numbers; no rows where nothing timed the steps."""
    parts = dict(_parts(record, bench))
    rows = []
    for bar in _bars(record, bench):
        found = parts[bar.id].whole
        each = {key: number(bar.ms[key]) if key in bar.ms else DASH for key in STAGES}
        rows.append({"name": one_line(bar.name), "whole": interval(found.p50, found.p50_ci)} | each)
    return Table(_COLUMNS, rows)


def _parts(record: BundleRecord, bench: BenchResult | None) -> list[tuple[str, StepLatencies]]:
    """By artifact, the recommended one first."""
    found = [(row.id, row.parts) for row in (bench.artifacts if bench else ()) if row.parts is not None]
    return sorted(found, key=lambda each: each[0] != record.recommended)


def _bars(record: BundleRecord, bench: BenchResult | None) -> list[_Bar]:
    """Without those whose calls were too few for a median."""
    bars = []
    for name, parts in _parts(record, bench):
        if ms := _medians(parts):
            shown = one_line(name) + (" ✓" if name == record.recommended else "")
            bars.append(_Bar(name, shown, ms, parts.whole.p50))
    return bars


def _medians(parts: StepLatencies) -> dict[str, float] | None:
    """Milliseconds by stage. Older results do not tell normalizing from resizing."""
    before, after = parts.preprocess.p50, parts.normalize.p50 if parts.normalize else 0.0
    decode, inference, last = parts.decode.p50, parts.inference.p50, parts.postprocess.p50
    if before is None or after is None:
        return None
    resize = max(before - after, 0.0)
    found = {
        "decode": decode,
        "resize": resize,
        "normalize": after,
        "inference": inference,
        "postprocess": last,
    }
    known = {key: ms for key, ms in found.items() if ms is not None}
    return known if len(known) == len(found) else None


def _draw(axes: Any, y: int, bar: _Bar, longest: float) -> None:
    place = {"va": "center", "parse_math": False, "transform": axes.get_yaxis_transform(), "color": INK}
    axes.text(0, y - 0.3, bar.name, fontsize=13, weight="bold", **place)
    whole = f"all of it {number(bar.whole)} ms" if bar.whole is not None else ""
    axes.text(1, y - 0.3, whole, fontsize=12, ha="right", **place)
    start = 0.0
    for place_of, (ms, colour) in enumerate(zip(bar.ms.values(), SERIES, strict=True), 1):
        axes.barh([y + 0.12], [ms], left=[start], height=0.34, color=colour, alpha=0.85, ec="none")
        if ms > 0.07 * longest:  # as wide as its number is
            axes.text(
                start + ms / 2, y + 0.12, str(place_of), ha="center", va="center", fontsize=12, color=INK
            )
        start += ms


def _legend(figure: Figure) -> None:
    """The steps by number and colour, two to a line."""
    height = 72 * figure.get_figheight()
    for i, (text, colour) in enumerate(zip(STAGES.values(), SERIES, strict=True)):
        x, y = SIDE + (WIDTH / 2 - SIDE) * (i % 2), height - TOP - KEY * (i // 2) - 8
        figure.text(x / WIDTH, y / height, "■", color=colour, fontsize=14, va="center")
        figure.text((x + 16) / WIDTH, y / height, f"{i + 1}  {text}", color=INK, fontsize=12, va="center")


def _said(bars: list[_Bar]) -> str:
    each = (
        f"{bar.name}: " + ", ".join(f"{STAGES[key]} {number(ms)} ms" for key, ms in bar.ms.items())
        for bar in bars
    )
    return "; ".join(each) + "."
