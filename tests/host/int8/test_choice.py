"""Which candidate is chosen, and which one later rungs build on."""

from __future__ import annotations

import pytest
from host.int8.scripted import built

from edge_tl.host.int8 import choice


def test_within_the_budget_the_fastest_is_kept_and_of_equals_the_nearest():
    slow, fast, near = built(0.1, 0.001, 2.0), built(0.4, 0.02, 1.0), built(0.4, 0.01, 1.05)
    assert choice.best([slow, fast, near], 0.5) is near
    assert choice.best([slow, fast, near], 0.2) is slow
    assert choice.best([fast, slow, near], 0.0) is slow  # none keeps it: the nearest to FP32


def test_training_starts_from_the_nearest_that_has_little_in_float():
    first, some, most = built(3, 0.03), built(2, 0.02, float_macs=0.04), built(1, 0.01, float_macs=0.14)
    assert choice.nearest_to_fp32([first, some, most]) is most
    assert choice.training_start([first, some, most]) is some
    assert choice.training_start([first, most]) is first
    less = built(2, 0.0195, float_macs=0.02)  # about as near as the one with more in float
    assert choice.training_start([first, less, some, most]) is some
    assert choice.training_start([]) is None


@pytest.mark.parametrize(
    ("drop", "expected", "kept"), [(0.4, 0.4, True), (-1.0, 0.9, False), (3.0, 0.1, False)]
)
def test_neither_a_lucky_count_nor_an_expectation_that_the_count_refutes_keeps_the_budget(
    drop: float, expected: float, kept: bool
):
    candidate = built(drop, 0.01, expected_drop_pp=expected)
    assert choice.keeps_budget(candidate, 0.5) is kept
