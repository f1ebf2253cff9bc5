"""What a page draws of a record, by the names that the page's template gives them. A figure without data is None, or
empty. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from edge_tl.device.errors import BadInput
from edge_tl.device.format import one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports import (
    class_comparison,
    ecdf_plot,
    front_plot,
    layer_errors_plot,
    plots,
    reliability_plot,
    run_tables,
    sentences,
    stages_plot,
)
from edge_tl.host.reports.benches import bench_of, steps_of
from edge_tl.host.reports.data_section import (
    class_counts_table,
    class_sentence,
    data_facts,
    data_plot,
    put_aside,
)
from edge_tl.host.reports.table import Table
from edge_tl.host.runs.record import EpochRecord, RunRecord
from edge_tl.host.runs.run_summary import DataSummary, RunSummary, data_summary


class DataPart(NamedTuple):
    """The images: facts, a drawing, the same as a table, files that were put aside, and a sentence about
    the classes."""

    facts: list[tuple[str, str]]
    drawn: Markup | None
    classes: Table
    aside: Table
    sentence: str | None


class TrainingPart(NamedTuple):
    """The epochs: drawings, how to read them, and the same as a table."""

    curves: tuple[Markup, Markup]
    note: str
    epochs: Table


class BundleFigures(NamedTuple):
    """Of a bundle."""

    front: Markup | None
    ecdf: Markup | None
    latency: Markup | None
    prediction: Markup | None
    prediction_steps: Table
    by_class: Table
    reliability: list[Markup]
    noise: Markup | None
    noise_rows: Table
    training: TrainingPart | None
    data: DataPart | None
    how_front: str = front_plot.EXPLANATION
    how_ecdf: str = ecdf_plot.EXPLANATION
    how_prediction: str = stages_plot.EXPLANATION
    how_classes: str = class_comparison.EXPLANATION
    how_reliability: str = reliability_plot.EXPLANATION
    how_noise: str = layer_errors_plot.EXPLANATION


class RunFigures(NamedTuple):
    """Of a run."""

    training: TrainingPart | None
    data: DataPart | None


def bundle_figures(record: BundleRecord) -> BundleFigures:
    """All that can be drawn. Raises `BadInput` where `report.json` holds what no edge-tl wrote."""
    bench, steps = bench_of(record), steps_of(record)
    ecdf = ecdf_plot.ecdf_plot(record, bench)
    summary = RunSummary.from_json(record.training, newer_keys=True) if record.training else None
    return BundleFigures(
        front=front_plot.front_plot(record),
        ecdf=ecdf,
        latency=None if ecdf else plots.latency(record),
        prediction=stages_plot.stages_plot(record, steps),
        prediction_steps=stages_plot.stages_table(record, steps),
        by_class=class_comparison.class_comparison(record),
        reliability=reliability_plot.reliability_plots(record),
        noise=layer_errors_plot.layer_errors_plot(record),
        noise_rows=layer_errors_plot.noise_table(record),
        training=_training(summary.history if summary else ()),
        data=_data(summary.data, record.labels) if summary else None,
    )


def run_figures(record: RunRecord) -> RunFigures:
    """All that can be drawn."""
    try:
        data = _data(data_summary(record, record.dataset()), record.labels)
    except BadInput:  # a damaged list of images is told where they are needed
        data = None
    return RunFigures(_training(record.history), data)


def _training(history: Sequence[EpochRecord]) -> TrainingPart | None:
    curves = plots.curves(history)
    if curves is None:
        return None
    best = "Ring: the best epoch, whose weights were kept."
    if run_tables.best_epoch(history) is None:
        best = sentences.NO_BETTER
    note = (
        "Training loss: of augmented images and smoothed labels, so it may lie above the validation loss. "
        + best
    )
    stages = [one_line(name) for name, _ in groupby(epoch.stage for epoch in history)]
    if len(stages) > 1:
        note += f" Dashed line: the next stage begins ({', then '.join(stages)})."
    return TrainingPart(curves, note, run_tables.epoch_table(history))


def _data(data: DataSummary, labels: Sequence[str]) -> DataPart:
    return DataPart(
        data_facts(data),
        data_plot(data, labels),
        class_counts_table(data, labels),
        put_aside(data),
        class_sentence(data),
    )
