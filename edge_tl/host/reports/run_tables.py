"""The record of a run as tables and pairs of text: epochs, figures, classes, heads. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_tl.device.format import DASH, clock, number, one_line
from edge_tl.device.records.image_files import SkippedFile
from edge_tl.host.images.findings import Duplicates
from edge_tl.host.reports.table import Column, Row, Table
from edge_tl.host.runs.record import EpochRecord, MetricsRecord, RunRecord, TriedHead

EPOCHS = (
    Column("epoch", "epoch"),
    Column("stage", "stage", False),
    Column("image_size", "pixels"),
    Column("train_loss", "loss"),
    Column("val_loss", "val loss"),
    Column("val_accuracy", "val accuracy %"),
    Column("lr", "learning rate"),
    Column("images_per_s", "images/s"),
    Column("seconds", "elapsed"),
    Column("mark", "", False),
)
CLASSES = (
    Column("label", "class", False),
    Column("precision", "precision %"),
    Column("recall", "recall %"),
    Column("f1", "F1 %"),
    Column("n", "images"),
)
LEFT_OUT = (Column("path", "image", False), Column("reason", "reason", False))

SCORES_MEAN = (
    "Macro: the mean over classes, each weighing the same. Calibration error: how far confidence and accuracy "
    "differ, averaged over 15 bins of confidence (Guo et al., 2017). Log loss: mean cross entropy in nats."
)


def best_epoch(history: Sequence[EpochRecord]) -> int | None:
    """Index of the best epoch: the last one that was better than all before it."""
    return max((i for i, epoch in enumerate(history) if epoch.best), default=None)


def epoch_table(history: Sequence[EpochRecord]) -> Table:
    """A row for each epoch, without the stage and the image size where all have the same; the best has a mark."""
    best = best_epoch(history)
    rows = [
        {
            "epoch": number(epoch.epoch, 0),
            "stage": one_line(epoch.stage),
            "image_size": number(epoch.image_size, 0),
            "train_loss": number(epoch.train_loss, 4),
            "val_loss": number(epoch.val_loss, 4),
            "val_accuracy": number(epoch.val_accuracy, 2, 100),
            "lr": _rate(epoch.lr),
            "images_per_s": number(epoch.images_per_s, 0),
            "seconds": clock(epoch.seconds),
            "mark": "best" if i == best else "",
        }
        for i, epoch in enumerate(history)
    ]
    same = {key for key in ("stage", "image_size") if len({row[key] for row in rows}) < 2}
    return Table([column for column in EPOCHS if column.key not in same], rows)


def thinned(table: Table, limit: int) -> Table:
    """With about `limit` rows, evenly spaced, always with the first, the marked and the last."""
    step = -(-len(table.rows) // limit)
    last = len(table.rows) - 1
    rows = [row for i, row in enumerate(table.rows) if i % step == 0 or i == last or row["mark"]]
    return replace(table, rows=rows)


def class_table(record: RunRecord) -> Table:
    """Precision, recall and F1 of every class."""
    rows = [
        {
            "label": one_line(one.label),
            "precision": number(one.precision, 2, 100),
            "recall": number(one.recall, 2, 100),
            "f1": number(one.f1, 2, 100),
            "n": number(one.n, 0),
        }
        for one in record.metrics.per_class
    ]
    return Table(CLASSES, rows)


def skipped_table(record: RunRecord) -> Table:
    """The images that could not be used, and why."""
    return Table(LEFT_OUT, [_left_out(one) for one in record.data.skipped])


def duplicates_table(record: RunRecord) -> Table:
    """The images that are there more than once, and what was done."""
    return Table(LEFT_OUT, [_left_out(one) for one in record.data.duplicates])


def scores(metrics: MetricsRecord) -> list[tuple[str, str]]:
    """(name, text) of each figure of the whole evaluation split that was measured."""
    percent = {
        "accuracy": metrics.accuracy,
        "top-5 accuracy": metrics.top5,
        "macro precision": metrics.macro_precision,
        "macro recall": metrics.macro_recall,
        "macro F1": metrics.macro_f1,
        "calibration error (ECE)": metrics.ece,
    }
    texts = {name: f"{number(value, 2, 100)} %" for name, value in percent.items() if number(value) != DASH}
    if metrics.accuracy_ci:
        texts["accuracy"] += f" {bounds(metrics.accuracy_ci)}"
    return [*texts.items(), ("log loss", number(metrics.log_loss, 4))]


def bounds(ends: tuple[float, float]) -> str:
    """An interval of fractions in percent: ``[87.10, 91.20]``."""
    return f"[{number(ends[0], 2, 100)}, {number(ends[1], 2, 100)}]"


def split_sizes(record: RunRecord) -> list[tuple[str, str]]:
    """(split, number of images)."""
    return [(split, number(n, 0)) for split, n in record.data.n.to_json().items()]


def seconds(record: RunRecord) -> list[tuple[str, str]]:
    """(part of the work, seconds)."""
    return [(part, number(value, 1)) for part, value in record.seconds.to_json().items()]


def head(record: RunRecord) -> str | None:
    """What the classifier on the features is, in a few words; None where the record does not say."""
    found = record.head
    if found.hidden:
        sizes = ", ".join(number(n, 0) for n in found.hidden)
        return f"hidden layers of {sizes}; dropout {_plain(found.dropout)}"
    return f"linear, C = {_plain(found.C)}" if found.C is not None else None


def tried_heads(record: RunRecord) -> list[tuple[str, str]]:
    """(settings, accuracy) of every head that was tried; the chosen one says so."""
    rows = []
    for one in record.head.grid:
        chosen = (one.C, one.epoch) == (record.head.C, record.head.epoch)
        name = _settings(one) + (", chosen" if chosen else "")
        rows.append((name, f"{number(one.accuracy, 2, 100)} %"))
    return rows


def _settings(tried: TriedHead) -> str:
    values = {"C": tried.C, "epoch": tried.epoch}
    return ", ".join(f"{name} = {_plain(v)}" for name, v in values.items() if v is not None) or DASH


def _left_out(one: SkippedFile | Duplicates) -> Row:
    paths = one.paths if isinstance(one, Duplicates) else (one.path,)
    return {"path": " = ".join(map(one_line, paths)), "reason": one_line(one.reason)}


def _plain(value: float | None) -> str:
    return one_line(f"{value:g}" if isinstance(value, float) else value)


def _rate(value: float) -> str:
    # Rates span many orders of magnitude, so significant digits.
    return DASH if number(value) == DASH else f"{value:.2e}"
