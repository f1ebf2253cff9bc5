"""Rows of a run's own figures: durations, the chosen head, the thinned epochs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_tl.device.format import clock
from edge_tl.host.reports import run_tables

Optional = st.none() | st.floats()


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
    kept = [int(row["epoch"]) for row in run_tables.thinned(rows, limit)]
    assert kept == sorted(set(kept))
    assert {0, best, n - 1} <= set(kept)
    assert len(kept) <= limit + 2
    if n <= limit:
        assert kept == list(range(n))


@example([{"val_accuracy": 1.8e306}])  # a hundred times that is no number
@given(st.lists(st.fixed_dictionaries({}, optional={c.key: Optional for c in run_tables.EPOCHS}), max_size=5))
def test_any_history_becomes_text(history: list[dict[str, Any]]) -> None:
    rows = run_tables.epochs(history)
    assert len(rows) == len(history)
    for row in rows:
        assert set(row) == {column.key for column in run_tables.EPOCHS}
        assert all(isinstance(text, str) for text in row.values())
        assert not {"None", "inf"} & set(row.values()) - {row["stage"]}
    assert run_tables.epoch_columns(rows)[0].key == "epoch"


def test_the_last_better_epoch_is_the_best() -> None:
    history = [{"best": flag} for flag in (True, False, True, False)]
    assert run_tables.best_epoch(history) == 2
    assert [row["mark"] for row in run_tables.epochs(history)] == ["", "", "best", ""]
    assert run_tables.best_epoch([{}, {}]) is None


def test_heads_and_what_was_tried() -> None:
    grid = [{"C": 1e-5, "accuracy": 0.5, "log_loss": 1.0}, {"C": 0.1, "accuracy": 0.75, "iterations": 9}]
    linear = {"head": {"C": 0.1, "grid": grid}}
    assert run_tables.head(linear) == "linear, C = 0.1"
    assert run_tables.tried(linear) == [("C = 1e-05", "50.00 %"), ("C = 0.1, chosen", "75.00 %")]
    grid = [{"weight_decay": w, "accuracy": 0.5} for w in (0.1, 0.01)]
    hidden = {"head": {"hidden": [1280, 64], "dropout": 0.2, "weight_decay": 0.01, "grid": grid}}
    assert run_tables.head(hidden) == "hidden layers of 1,280, 64; dropout 0.2"
    assert [name for name, _ in run_tables.tried(hidden)] == [
        "weight_decay = 0.1",
        "weight_decay = 0.01, chosen",
    ]
    assert (run_tables.head({}), run_tables.tried({}), run_tables.scores({})) == (None, [], [])
    assert (run_tables.strategy({"strategy": "head"}), run_tables.cross_validation({"folds": None})) == (
        None,
        None,
    )


def test_what_no_image_judges_and_what_is_no_image_are_lines():
    rows = [{"label": "a", "n": 4}, {"label": "few", "n": 0}, {"label": "c", "n": 2}]
    record = {
        "metrics": {"per_class": rows},
        "data": {"not_images": [{"kind": ".xml", "n": 1200, "example": "a/0.xml"}]},
    }
    line = run_tables.unjudged(record)
    assert line is not None
    assert line.startswith("No image of few is among")
    assert "over all 3 classes" in line
    assert run_tables.passed_over(record) == "Files that are no images, passed over: 1,200 .xml."
    assert run_tables.unjudged({"metrics": {"per_class": rows[:1]}}) is None
    assert run_tables.passed_over({}) is None
