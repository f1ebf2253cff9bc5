"""The options of a bench: what goes together, what is refused by name, and what each asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_tl.device.bench.effort import NOISE, QUICK, THOROUGH, Effort
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bench.workloads import Placement
from edge_tl.device.errors import BadInput
from edge_tl.device.model import _positive


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "latency"),
        ({"quick": True, "artifacts": ("a", "b")}, "latency"),
        ({"aa": True}, "aa"),
        ({"fps": 10.0}, "paced"),
        ({"load": 2}, "paced"),
        ({"minutes": 1.0, "fps": 10.0, "deadline_ms": 50.0}, "sustained"),
        ({"parts": True}, "breakdown"),
        ({"batches": (1, 4)}, "breakdown"),
        ({"threads": (2,)}, "breakdown"),
        ({"throughput": True}, "breakdown"),
    ],
)
def test_each_combination_is_one_kind_of_run(given: dict[str, Any], kind: str) -> None:
    assert BenchOptions(**given).kind == kind


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"aa": True, "parts": True}, "separate runs"),
        ({"fps": 5.0, "throughput": True}, "separate runs"),
        ({"fps": 5.0, "seconds": 3.0, "minutes": 1.0}, "both say how long"),
        ({"seconds": 3.0}, "--fps 10"),
        ({"deadline_ms": 3.0}, "--fps 10"),
        ({"fps": 0.0}, "--fps 0"),
        ({"fps": float("nan")}, "--fps nan"),
        ({"load": -1}, "--load -1"),
        ({"minutes": -1.0}, "--minutes -1: give a time above 0"),
        ({"fps": 5.0, "seconds": 1e7}, "--seconds"),
        ({"rounds": 0}, "--rounds 0"),
        ({"batches": (0,)}, "--batch 0"),
        ({"threads": (1, 5000)}, "--threads 1,5000"),
        ({"minutes": 1.0, "rounds": 3}, "--rounds does not go with --minutes"),
        ({"fps": 5.0, "quick": True}, "--quick has no effect at a rate"),
        ({"load": 1, "blocks": 3}, "--blocks has no effect at a rate"),
        ({"minutes": 1.0, "count": 3}, "--count has no effect at a rate"),
        ({"parts": True, "blocks": 3}, "--blocks has no effect on --parts"),
        ({"aa": True, "artifacts": ("a", "b")}, "measure one artifact"),
        ({"minutes": 1.0, "artifacts": ("a", "b")}, "measure one artifact"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        BenchOptions(**given)


def test_the_effort_that_fits_with_what_is_given_in_its_place() -> None:
    assert BenchOptions().effort == THOROUGH
    assert BenchOptions(quick=True).effort == BenchOptions(aa=True, quick=True).effort == QUICK
    assert BenchOptions(aa=True).effort == NOISE
    assert BenchOptions(rounds=2, count=3).effort == Effort(rounds=2, count=3, blocks=THOROUGH.blocks)


def test_where_and_how_it_runs() -> None:
    options = BenchOptions(device="GPU", allow_fallback=True, fps=20.0, load=1)
    assert options.place == Placement("GPU", allow_fallback=True)
    assert (options.arrivals.fps, options.arrivals.load, options.arrivals.due_ms) == (20.0, 1, 50.0)
    assert BenchOptions(load=1).arrivals.due_ms is None


def test_what_is_no_device_and_no_number_is_refused_in_words() -> None:
    """`device=None` and `top="3"` ended in an AttributeError and a TypeError."""
    for wrong in (None, 3, ""):
        with pytest.raises(BadInput, match="give a name, e"):
            BenchOptions(device=wrong)  # type: ignore[arg-type]
    for odd in ("3", 2.5, None, True):
        with pytest.raises(BadInput, match="Give a whole number from 1"):
            _positive("top", odd)  # type: ignore[arg-type]
    assert _positive("top", np.int64(3)) == 3
