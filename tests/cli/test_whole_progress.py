"""The bar of a whole run only goes forward, and its time left ends at nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.cli._whole_progress import SHARES, WholeProgress

STEP = st.tuples(st.sampled_from([*SHARES, "decoding", "judging"]), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(STEP, max_size=40))
def test_it_never_goes_back(steps: list[tuple[str, int, int]]) -> None:
    whole, before = WholeProgress(0.0), 0.0
    for what, done, total in steps:
        whole.step(what, min(done, total), total)
        assert before <= whole.fraction(1.0) <= 1
        before = whole.fraction(1.0)


def test_the_time_left() -> None:
    whole = WholeProgress(100.0)
    assert whole.left_s(101.0) is None
    whole.step("latency", 5, 10)
    left = whole.left_s(200.0)
    assert left == pytest.approx(100 * (1 - whole.of_steps) / whole.of_steps)
    whole.step("latency", 10, 10)
    whole.step("gates", 4, 4)
    assert whole.fraction(300.0) < 1  # one prediction's steps are timed yet
    whole.step("latency", 3, 3)
    assert whole.left_s(300.0) == 0


def test_a_training_says_itself_how_long_it_takes() -> None:
    whole = WholeProgress(0.0)
    whole.step("features", 10, 10)
    whole.training(600.0, 20.0)
    left = whole.left_s(20.0)
    assert left is not None
    assert left > 600


def test_the_bar_moves_while_epochs_pass() -> None:
    whole = WholeProgress(0.0)
    whole.step("features", 10, 10)
    whole.training(600.0, 20.0)
    first = whole.fraction(20.0)
    whole.training(300.0, 320.0)
    second = whole.fraction(320.0)
    assert first < second - 0.2
    assert second < whole.fraction(420.0)  # an epoch's validation says nothing, and time passes


def test_what_comes_after_epochs_takes_no_longer_because_they_took_long() -> None:
    left = []
    for seconds in (100.0, 10_000.0):
        whole = WholeProgress(0.0)
        whole.step("features", 10, 10)
        whole.training(seconds, 20.0)
        whole.training(0.0, 20.0 + seconds)
        whole.step("export", 1, 4)
        left.append(whole.left_s(25.0 + seconds))
    assert left[0] == pytest.approx(left[1])
