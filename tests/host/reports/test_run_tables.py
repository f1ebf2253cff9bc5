"""Rows of a run's own figures: durations, the chosen head, the thinned epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from host.reports.samples import run, sample
from hypothesis import example, given
from hypothesis import strategies as st

from edge_tl.device.format import clock
from edge_tl.device.records.image_files import FileKind
from edge_tl.host.reports import run_tables, sentences
from edge_tl.host.reports.table import Table
from edge_tl.host.runs.record import ClassMetrics, EpochRecord, HeadRecord, RunRecord, TriedHead

FIGURES = ("train_loss", "lr", "images_per_s", "seconds")
ANY: dict[str, Any] = dict.fromkeys(FIGURES, st.floats())
ANY |= dict.fromkeys(("val_loss", "val_accuracy"), st.none() | st.floats())
ANY |= {"best": st.booleans(), "epoch": st.integers(1), "image_size": st.integers(1), "stage": st.text()}


def epoch(**given: Any) -> EpochRecord:
    place = {"stage": "full", "epoch": 1, "epochs": 9, "image_size": 64, "best": False}
    figures = dict.fromkeys((*FIGURES, "val_loss", "val_accuracy"), 0.5)
    return EpochRecord(**{**place, **figures, **given})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (59.6, "0:01:00"),
        (3723.4, "1:02:03"),
        (360_000, "100:00:00"),
        (-1, "0:00:00"),
        (None, "—"),
        (float("inf"), "—"),
        (float("nan"), "—"),
    ],
)
def test_durations(seconds: object, text: str) -> None:
    assert clock(seconds) == text


@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_thinning_keeps_the_ends_the_best_and_the_order(n: int, limit: int, data: st.DataObject) -> None:
    best = data.draw(st.integers(0, n - 1))
    rows = [{"epoch": str(i), "mark": "best" if i == best else ""} for i in range(n)]
    kept = [int(row["epoch"]) for row in run_tables.thinned(Table(run_tables.EPOCHS, rows), limit).rows]
    assert kept == sorted(set(kept))
    assert {0, best, n - 1} <= set(kept)
    assert len(kept) <= limit + 2
    if n <= limit:
        assert kept == list(range(n))


@example([epoch(val_accuracy=1.8e306)])  # a hundred times that is no number
@given(st.lists(st.builds(epoch, **ANY), max_size=5))
def test_any_history_becomes_text(history: list[EpochRecord]) -> None:
    table = run_tables.epoch_table(history)
    assert len(table.rows) == len(history)
    for row in table.rows:
        assert set(row) == {column.key for column in run_tables.EPOCHS}
        assert all(isinstance(text, str) for text in row.values())
        assert not {"None", "inf"} & set(row.values()) - {row["stage"]}
    assert table.columns[0].key == "epoch"


def test_the_last_better_epoch_is_the_best() -> None:
    history = [epoch(best=flag) for flag in (True, False, True, False)]
    assert run_tables.best_epoch(history) == 2
    assert [row["mark"] for row in run_tables.epoch_table(history).rows] == ["", "", "best", ""]
    assert run_tables.best_epoch([epoch(), epoch()]) is None


def with_head(**head: Any) -> RunRecord:
    return replace(run(sample("run")), head=HeadRecord(**head))


def test_heads_and_what_was_tried() -> None:
    tried = (TriedHead(0.5, 1.0, C=1e-5), TriedHead(0.75, 1.0, C=0.1, iterations=9))
    linear = with_head(C=0.1, grid=tried)
    assert run_tables.head(linear) == "linear, C = 0.1"
    assert run_tables.tried_heads(linear) == [("C = 1e-05", "50.00 %"), ("C = 0.1, chosen", "75.00 %")]
    epochs = (TriedHead(0.5, 1.0, epoch=1), TriedHead(0.5, 1.0, epoch=2))
    hidden = with_head(hidden=(1280, 64), dropout=0.2, epoch=2, grid=epochs)
    assert run_tables.head(hidden) == "hidden layers of 1,280, 64; dropout 0.2"
    assert [name for name, _ in run_tables.tried_heads(hidden)] == ["epoch = 1", "epoch = 2, chosen"]
    assert (run_tables.head(with_head()), run_tables.tried_heads(with_head())) == (None, [])
    assert (sentences.strategy(linear), sentences.cross_validation(linear)) == (None, None)


def test_a_figure_that_was_not_measured_is_left_out() -> None:
    metrics = run(sample("run")).metrics
    assert dict(run_tables.scores(metrics))["accuracy"] == "87.09 %"
    assert "top-5 accuracy" not in dict(run_tables.scores(metrics))
    known = replace(metrics, top5=0.991, accuracy_ci=(0.8, 0.9))
    assert dict(run_tables.scores(known))["top-5 accuracy"] == "99.10 %"
    assert dict(run_tables.scores(known))["accuracy"] == "87.09 % [80.00, 90.00]"


def test_what_no_image_evaluates_and_what_is_no_image_are_lines() -> None:
    whole = run(sample("run"))
    rows = tuple(ClassMetrics(name, 0.5, 0.5, 0.5, n) for name, n in (("a", 4), ("few", 0), ("c", 2)))
    record = replace(
        whole,
        metrics=replace(whole.metrics, per_class=rows),
        data=replace(whole.data, not_images=(FileKind(".xml", 1200, "a/0.xml"),)),
    )
    line = sentences.classes_without_images(record)
    assert line is not None
    assert line.startswith("No image of few was")
    assert "over all 3 classes" in line
    assert sentences.other_files(record) == "Files that are no images, passed over: 1,200 .xml."
    full = replace(whole, metrics=replace(whole.metrics, per_class=rows[:1]))
    assert sentences.classes_without_images(full) is None
    assert sentences.other_files(whole) is None
