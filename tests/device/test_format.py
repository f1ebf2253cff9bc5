"""How numbers, sizes, intervals and durations are printed."""

from __future__ import annotations

import math

import pytest

from edge_tl.device.format import DASH, clock, interval, megabytes, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.567, "1,234.57"),
        (-0.001, "0.00"),
        (None, DASH),
        (math.nan, DASH),
        (math.inf, DASH),
        (True, DASH),
    ],
)
def test_a_number_has_two_digits_and_what_is_none_is_a_dash(value: object, text: str) -> None:
    assert number(value) == text


def test_a_size_is_in_millions_of_bytes() -> None:
    assert megabytes(12_345_678) == "12.3 MB"
    assert megabytes(1_234_567_890, 0) == "1,235 MB"
    assert megabytes(0) == "0.0 MB"


def test_an_interval_has_both_ends_or_none() -> None:
    assert interval(0.25, [-0.1, 0.6]) == "0.25 [-0.10, 0.60]"
    assert interval(0.25, [None, 0.6]) == interval(0.25, None) == "0.25"
    assert interval(None, [0, 1]) == DASH


def test_a_duration_is_hours_minutes_and_seconds() -> None:
    assert clock(3725.4) == "1:02:05"
    assert clock(None) == DASH
