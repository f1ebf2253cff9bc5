"""The images of a run for people: how many of each class and split, their sizes, and files that were put aside. Reads
no image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from edge_tl.device.format import number, one_line, percentage
from edge_tl.host.images.dataset import SPLITS
from edge_tl.host.reports.heatmap import shorten_label
from edge_tl.host.reports.svg import INK, SERIES, WIDTH, inline, rows_plane
from edge_tl.host.reports.table import Column, Table
from edge_tl.host.runs.run_summary import DataSummary

MOST_BARS = 30  # classes; more are a table alone
ROW, TOP, LEFT, RIGHT = 24.0, 30.0, 118.0, 52.0
CLASSES = (
    Column("label", "class", False),
    Column("train", "train"),
    Column("val", "val"),
    Column("test", "test"),
    Column("all", "all"),
    Column("share", "% of all"),
)
FILES = (Column("path", "file", False), Column("reason", "reason", False))


def data_facts(data: DataSummary) -> list[tuple[str, str]]:
    """(name, text) of what is known of the images."""
    counts = [sum(row) for row in data.classes]
    splits = ", ".join(f"{name} {number(n, 0)}" for name, n in data.n.to_json().items() if n)
    facts = [("images", splits)]
    if any(counts):
        largest, smallest = max(counts), min(counts)
        text = f"{largest:,} images"
        if len(counts) > 1 and smallest:
            text += f", {number(largest / smallest, 1)} times the smallest"
        facts.append(("largest class", text))
    if sizes := data.sizes:
        for name, (least, middle, most_) in (("width", sizes.width), ("height", sizes.height)):
            facts.append((f"{name}, pixels", f"{least:,} to {most_:,}, half up to {middle:,}"))
        facts.append(("smaller than the model's input", f"{sizes.enlarged:,} of {sizes.n:,} images read"))
    facts.append(("files skipped", number(data.skipped, 0)))
    facts.append(("groups of equal files", number(data.duplicates, 0)))
    if data.leaks:
        facts.append(("groups in several splits", number(data.leaks, 0)))
    if data.not_images:
        kinds = ", ".join(f"{number(kind.n, 0)} {one_line(kind.kind)}" for kind in data.not_images)
        facts.append(("files that are no images", kinds))
    return facts


def class_counts_table(data: DataSummary, labels: Sequence[str]) -> Table:
    """A row for each class, without splits that have no image; no rows where the classes were not counted."""
    if not _counted(data, labels):
        return Table((), [])
    total = sum(map(sum, data.classes))
    rows = [
        {"label": one_line(label)}
        | {split: number(n, 0) for split, n in zip(SPLITS, counts, strict=True)}
        | {"all": number(sum(counts), 0), "share": number(sum(counts) / total, 1, 100)}
        for label, counts in zip(labels, data.classes, strict=True)
    ]
    empty = {split for split, n in data.n.to_json().items() if not n}
    return Table([column for column in CLASSES if column.key not in empty], rows)


def put_aside(data: DataSummary) -> Table:
    """Some of the files that are not used, or not as they lie there, with the reason."""
    rows = [{"path": one_line(one.path), "reason": one_line(one.reason)} for one in data.skipped_files]
    rows += [
        {"path": " = ".join(map(one_line, one.paths)), "reason": one_line(one.reason)}
        for one in data.duplicate_files
    ]
    return Table(FILES, rows)


def data_plot(data: DataSummary, labels: Sequence[str]) -> Markup | None:
    """A bar for each class, the splits one after the other. None of too many classes, or where they were not
    counted."""
    if not _counted(data, labels) or not 1 < len(labels) <= MOST_BARS:
        return None
    figure, axes = rows_plane(len(labels), ROW, "images", left=LEFT, right=RIGHT, top=TOP)
    axes.set_xlim(0, max(map(sum, data.classes)))
    used = [i for i, n in enumerate(data.n.to_json().values()) if n]
    for y, (label, counts) in enumerate(zip(labels, data.classes, strict=True)):
        _draw(axes, y, one_line(label), [(i, counts[i]) for i in used])
    _legend(figure, used)
    said = "; ".join(f"{one_line(label)}: {sum(n)}" for label, n in zip(labels, data.classes, strict=True))
    return inline(figure, "data", "Images of each class and split", f"{said}.")


def class_sentence(data: DataSummary) -> str | None:
    """That the classes are uneven, where they are so much that it matters; None otherwise."""
    counts = [sum(row) for row in data.classes]
    if len(counts) < 2 or not sum(counts) or min(counts) * 5 > max(counts):
        return None
    share = percentage(max(counts) / sum(counts), 0)
    return f"The classes are uneven: one has {share} of all images. Look at its recall and the others', class by class."


def _counted(data: DataSummary, labels: Sequence[str]) -> bool:
    return len(data.classes) == len(labels) and any(map(any, data.classes))


def _draw(axes: Any, y: int, label: str, counts: Sequence[tuple[int, int]]) -> None:
    place = {"va": "center", "parse_math": False, "textcoords": "offset points", "fontsize": 12, "color": INK}
    axes.annotate(
        shorten_label(label), (0, y), (-8, 0), xycoords=("axes fraction", "data"), ha="right", **place
    )
    start = 0
    for i, n in counts:
        axes.barh([y], [n], left=[start], height=0.66, color=SERIES[i], alpha=0.85, ec="none")
        start += n
    axes.annotate(f"{start:,}", (start, y), (6, 0), xycoords="data", ha="left", **place)


def _legend(figure: Figure, used: Sequence[int]) -> None:
    height = 72 * figure.get_figheight()
    for place, i in enumerate(used):
        x, y = LEFT + 86 * place, height - 12
        figure.text(x / WIDTH, y / height, "■", color=SERIES[i], fontsize=14, va="center")
        figure.text((x + 16) / WIDTH, y / height, SPLITS[i], color=INK, fontsize=12, va="center")
