"""The bar of a whole run only goes forward, and its time left ends at nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.cli._whole_progress import SHARES, WholeProgress

STEP = st.tuples(st.sampled_from([*SHARES, "gates", "judging"]), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(STEP, max_size=40))
def test_it_never_goes_back(steps: list[tuple[str, int, int]]) -> None:
    whole, before = WholeProgress(0.0), 0.0
    for what, done, total in steps:
        whole.step(what, min(done, total), total)
        assert before <= whole.fraction <= 1
        before = whole.fraction


def test_the_time_left() -> None:
    whole = WholeProgress(100.0)
    assert whole.left_s(101.0) is None
    whole.step("latency", 5, 10)
    left = whole.left_s(200.0)
    assert left == pytest.approx(100 * (1 - whole.fraction) / whole.fraction)
    whole.step("latency", 10, 10)
    assert whole.left_s(300.0) == 0


def test_a_training_says_itself_how_long_it_takes() -> None:
    whole = WholeProgress(0.0)
    whole.step("features", 10, 10)
    whole.training(600.0)
    left = whole.left_s(20.0)
    assert left is not None
    assert left > 600
    whole.step("export", 0, 4)
    assert whole.left_s(620.0) != left
