"""A run in words, as finetune and import print it. It needs the host part."""

from __future__ import annotations

from edge_tl.cli._table import grid
from edge_tl.host.reports import resize_tables
from edge_tl.host.runs.record import MetricsRecord
from edge_tl.host.runs.resize_records import ResizeComparison


def accuracy_line(metrics: MetricsRecord) -> str:
    """The accuracy of a run, with its interval and what else the images were used for."""
    text = f"accuracy {metrics.accuracy:.4f}"
    if metrics.accuracy_ci:  # runs of older versions have none
        low, high = metrics.accuracy_ci
        text += f", 95 % interval [{low:.4f}, {high:.4f}]"
    text += f", macro F1 {metrics.macro_f1:.4f} on the {metrics.n} images of {metrics.split}"
    if metrics.chosen_on_same_images:
        text += ", which also chose what was kept: expect less on new images"
    return text


def resize_lines(compared: ResizeComparison | None) -> str:
    """The comparison of resize policies below a run, or nothing."""
    if compared is None:
        return ""
    table = resize_tables.policy_table(compared)
    return f"\n\n{grid(table.headings, table.cells)}\n{resize_tables.conclusion(compared)}"
