"""A run in words, as finetune and import print it. It needs the host part."""

from __future__ import annotations

from edge_tl.host.runs.record import MetricsRecord


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
