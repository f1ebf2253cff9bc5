"""Which candidate is chosen, and which one later rungs build on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from host.int8.scripted import built

from edge_tl.host.int8 import choice
from edge_tl.host.int8.ranges import ESTIMATORS


def test_within_the_budget_the_fastest_is_kept_and_of_equals_the_nearest():
    slow, fast, near = (
        replace(each, settings=replace(each.settings, excluded=frozenset({layer})))
        for each, layer in (
            (built(0.1, 0.001, 2.0), "a"),
            (built(0.4, 0.02, 1.0), "b"),
            (built(0.4, 0.01, 1.05), "c"),
        )
    )
    assert choice.best([slow, fast, near], 0.5) is near
    assert choice.best([slow, fast, near], 0.2) is slow
    assert choice.best([fast, slow, near], 0.0) is slow  # none keeps it: the nearest to FP32


def test_what_computes_the_same_is_equally_fast_whatever_a_few_calls_said():
    """Two ranges of one network: the demo took now one, now the other, and three of 539 answers with it."""
    narrow, wide = built(0.0, 0.02, 0.34), built(0.0, 0.01, 0.44)
    other_ranges = replace(wide, settings=replace(wide.settings, estimator=ESTIMATORS[1], images=300))
    assert narrow.settings != other_ranges.settings
    assert choice.best([narrow, other_ranges], 0.5) is other_ranges
    less_rounded = replace(wide, settings=replace(wide.settings, matrix_only=not wide.settings.matrix_only))
    assert choice.best([narrow, less_rounded], 0.5) is narrow


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
