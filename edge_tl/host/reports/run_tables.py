"""Turn what is particular to the record of a run (its epochs, figures, folds and head) into rows and lines of text.

Must not measure or lay out; a number that is not in the record becomes a dash, a figure that is not there is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_tl.device.format import DASH, clock, number, words
from edge_tl.host.reports.tables import Column, Row

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
# Key of the metrics, what people read, digits and scale, unit.
SCORES = (
    ("accuracy", "accuracy", 2, 100.0, " %"),
    ("top5", "top-5 accuracy", 2, 100.0, " %"),
    ("macro_precision", "macro precision", 2, 100.0, " %"),
    ("macro_recall", "macro recall", 2, 100.0, " %"),
    ("macro_f1", "macro F1", 2, 100.0, " %"),
    ("ece", "calibration error (ECE)", 2, 100.0, " %"),
    ("log_loss", "log loss", 4, 1.0, ""),
)
# Of a tried head; every other key is a setting that was tried.
RESULTS = {"accuracy", "log_loss", "iterations", "epochs", "seconds"}

SCORES_MEAN = (
    "Macro: the mean over classes, each weighing the same. Calibration error: how far confidence and accuracy are "
    "apart, averaged over 15 bins of confidence (Guo et al., 2017). Log loss: mean cross entropy in nats."
)

NO_BETTER = "No epoch was better than the start, so the weights of the start were kept."


def best_epoch(history: Sequence[dict[str, Any]]) -> int | None:
    """Index of the best epoch: the last one that was better than all before it."""
    return max((i for i, item in enumerate(history) if item.get("best")), default=None)


def epochs(history: Sequence[dict[str, Any]]) -> list[Row]:
    """Rows of ``EPOCHS``; the best epoch carries a mark."""
    best = best_epoch(history)
    return [
        {key: number(item.get(key), 0) for key in ("epoch", "image_size", "images_per_s")}
        | {key: number(item.get(key), 4) for key in ("train_loss", "val_loss")}
        | {"val_accuracy": number(item.get("val_accuracy"), 2, 100), "seconds": clock(item.get("seconds"))}
        | {
            "lr": _rate(item.get("lr")),
            "stage": words(item.get("stage")),
            "mark": "best" if i == best else "",
        }
        for i, item in enumerate(history)
    ]


def epoch_columns(rows: Sequence[Row]) -> list[Column]:
    """``EPOCHS`` without the stage and the image size where all rows have the same."""
    same = {key for key in ("stage", "image_size") if len({row[key] for row in rows}) < 2}
    return [column for column in EPOCHS if column.key not in same]


def thinned(rows: Sequence[Row], limit: int) -> list[Row]:
    """About ``limit`` rows of ``epochs``, evenly spaced, always with the first, the best and the last."""
    step = -(-len(rows) // limit)
    last = len(rows) - 1
    return [row for i, row in enumerate(rows) if i % step == 0 or i == last or row["mark"]]


def scores(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of each figure of the whole evaluation split that the record has."""
    metrics = record.get("metrics") or {}
    texts = [
        (name, number(metrics.get(key), digits, scale), unit) for key, name, digits, scale, unit in SCORES
    ]
    ends = [number(end, 2, 100) for end in metrics.get("accuracy_ci") or ()]
    beside = {"accuracy": f" [{ends[0]}, {ends[1]}]"} if len(ends) == 2 else {}
    return [(name, text + unit + beside.get(name, "")) for name, text, unit in texts if text != DASH]


def strategy(record: dict[str, Any]) -> str | None:
    """The strategy and why it was chosen, in one line; None where the record does not say why."""
    reason = record.get("strategy_reason")
    return f"Strategy {words(record.get('strategy'))}: {words(reason)}" if reason else None


def kept(record: dict[str, Any]) -> str | None:
    """Which epoch's weights the run holds and why, in one line; None where the record does not say."""
    reason = (record.get("kept") or {}).get("reason")
    return f"{words(reason)[:1].upper()}{words(reason)[1:]}." if reason else None


def cross_validation(record: dict[str, Any]) -> str | None:
    """What the folds say, in one line; None where there was no cross-validation."""
    folds = record.get("folds") or {}
    if not folds:
        return None
    ends = [number(end, 2, 100) for end in folds.get("interval") or ()]
    each = ", ".join(number(value, 2, 100) for value in folds.get("accuracies") or ())
    return (
        f"{number(folds.get('k'), 0)}-fold cross-validation: accuracy {number(folds.get('mean'), 2, 100)} %"
        f", standard deviation {number(folds.get('std'), 2, 100)} percentage points"
        + (f", 95 % interval of the mean [{ends[0]}, {ends[1]}] %" if len(ends) == 2 else "")
        + (f". Folds: {each} %." if each else ".")
    )


def unjudged(record: dict[str, Any]) -> str | None:
    """Which classes no image judges, in one line; None where every class has some."""
    rows = (record.get("metrics") or {}).get("per_class") or []
    absent = [words(row.get("label")) for row in rows if row.get("n") == 0]
    if not absent:
        return None
    more = f" and {len(absent) - 6} more" if len(absent) > 6 else ""
    return (
        f"No image of {', '.join(absent[:6])}{more} is among those judged: the figures say nothing of "
        f"{'it' if len(absent) == 1 else 'them'}, and macro figures, over all {len(rows)} classes, count 0."
    )


def passed_over(record: dict[str, Any]) -> str | None:
    """How many files of the data are no images, by kind, in one line; None where there are none."""
    found = (record.get("data") or {}).get("not_images") or []
    counts = ", ".join(f"{number(entry.get('n'), 0)} {words(entry.get('kind'))}" for entry in found)
    return f"Files that are no images, passed over: {counts}." if counts else None


def head(record: dict[str, Any]) -> str | None:
    """What the classifier on the features is, in a few words; None where the record does not say."""
    found = record.get("head") or {}
    if hidden := found.get("hidden"):
        return f"hidden layers of {', '.join(number(n, 0) for n in hidden)}; dropout {_plain(found.get('dropout'))}"
    return f"linear, C = {_plain(found['C'])}" if found.get("C") is not None else None


def tried(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(settings, accuracy) of every head that was tried; the chosen one says so."""
    found = record.get("head") or {}
    rows = []
    for item in found.get("grid") or []:
        settings = {key: value for key, value in item.items() if key not in RESULTS}
        chosen = bool(settings) and all(found.get(key) == value for key, value in settings.items())
        name = ", ".join(f"{words(key)} = {_plain(value)}" for key, value in settings.items())
        rows.append(
            (f"{name or DASH}{', chosen' if chosen else ''}", f"{number(item.get('accuracy'), 2, 100)} %")
        )
    return rows


def _plain(value: object) -> str:
    return words(f"{value:g}" if isinstance(value, float) else value)


def _rate(value: object) -> str:
    # Rates span many orders of magnitude, so significant digits.
    return DASH if number(value) == DASH else f"{value:.2e}"
