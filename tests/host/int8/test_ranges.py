"""Ranges of activations, against the values themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_tl.host.int8 import ranges
from edge_tl.host.int8.ranges import BINS, ESTIMATORS, Histogram, binned, histograms, saturated

UNBOUNDED = (-np.inf, np.inf)


def of(values: Any, bounds: tuple[float, float] = UNBOUNDED) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, BINS, (low, high))[0].astype(float)
    return Histogram(low, high, counts, bounds)


def error(values: Any, ends: tuple[float, float], power: int) -> float:
    """What 256 codes over `ends` cost, computed on every value."""
    step = (ends[1] - ends[0]) / 255
    zero = np.rint(-ends[0] / step)
    codes = np.clip(np.rint(values / step) + zero, 0, 255)
    return float(np.mean(np.abs((codes - zero) * step - values) ** power))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=60, unique=True),
    st.sampled_from(ESTIMATORS),
)
def test_a_range_holds_zero_and_lies_within_the_extremes(values: list[float], estimator: str):
    array = np.array(values)
    low, high = of(array).range(estimator)
    assert min(array.min(), 0) - 1e-6 <= low <= 0 <= high <= max(array.max(), 0) + 1e-6


def test_percentiles_are_numpys_within_two_bins():
    values = np.random.default_rng(0).normal(0.5, 1.0, 200_000)
    width = (values.max() - values.min()) / BINS
    for kept in ("99.9", "99.99", "99.8"):
        cut = (100 - float(kept)) / 2
        assert of(values).range(kept) == pytest.approx(np.percentile(values, [cut, 100 - cut]), abs=2 * width)


@pytest.mark.parametrize(("estimator", "power"), [("mse", 2), ("l1", 1)])
def test_a_searched_range_costs_less_than_the_extremes(estimator: str, power: int):
    values = np.random.default_rng(0).standard_t(3, 50_000)
    found = of(values).range(estimator)
    assert error(values, found, power) < error(values, of(values).range("min-max"), power)


@pytest.mark.parametrize("seed", range(3))
def test_bins_are_numpys_but_for_values_on_an_edge(seed: int):
    rng = np.random.default_rng(seed)
    values = np.clip(rng.standard_t(3, 300_001), -6, 6 * seed + 1).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    own, numpys = binned(values, low, high), np.histogram(values, BINS, (low, high))[0]
    assert own.sum() == len(values)
    assert own[-1] >= np.sum(values == np.float32(high))
    # Up to the next edge as many values as numpy counts, but for those that rounding takes over it.
    assert np.abs(np.cumsum(own) - np.cumsum(numpys)).max() <= len(values) / 5000
    for estimator in ESTIMATORS[:5]:
        want = Histogram(low, high, numpys.astype(float), UNBOUNDED).range(estimator)
        assert Histogram(low, high, own.astype(float), UNBOUNDED).range(estimator) == pytest.approx(
            want, abs=(high - low) / BINS
        )


def test_values_that_are_no_numbers_are_in_no_bin():
    values = np.array([0.0, 0.25, np.nan, 1.0], np.float32)
    assert binned(values, 0.0, 1.0).sum() == 3
    assert binned(np.array([-1.0, 0.5, 2.0], np.float32), 0.0, 1.0).sum() == 1


def test_entropy_cuts_a_lone_outlier():
    values = np.append(np.random.default_rng(0).uniform(0, 1, 100_000), 50.0)
    assert of(values).range("entropy")[1] < 50
    assert of(values).range("min-max")[1] == 50


def test_values_that_make_no_difference_get_no_codes():
    values = np.linspace(-10, 10, 1001)
    for estimator in ESTIMATORS:
        low, high = of(values, (-3.0, 3.0)).range(estimator)
        assert -3 <= low <= 0 <= high <= 3


def test_a_constant_and_a_one_sided_tensor_have_a_range():
    assert Histogram(2.0, 2.0, np.zeros(BINS), UNBOUNDED).range("99.9") == (0.0, 2.0)
    assert of(np.linspace(1, 2, 100)).range("min-max") == (0.0, 2.0)


def test_values_closer_than_numbers_can_tell_are_taken_for_one(tmp_path: Path):
    """An untrained network can give 0.0139 for every image, different in the last bit."""
    onnx.save(graph(("Relu", ["c"], ["r"]), ("Neg", ["r"], ["y"])), tmp_path / "m.onnx")
    images = np.full((2, 3, 4, 4), 1000.0, np.float32)
    images[0, 0, 0, 0] = np.nextafter(np.float32(1000), np.float32(2000))
    seen = histograms(str(tmp_path / "m.onnx"), images)
    assert not seen["images"].counts.any()
    for estimator in ESTIMATORS:
        low, high = seen["images"].range(estimator)
        assert (low, high) == pytest.approx((0, 1000), rel=1e-6)


def graph(*followers: tuple[str, list[str], list[str]]) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"], name="conv")]
    nodes += [helper.make_node(kind, ins, outs) for kind, ins, outs in followers]
    w = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 2.0, 3.0])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 4, 4])
        for name, channels in (("images", 3), ("y", 1))
    ]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], [w])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize(
    ("followers", "bounds"),
    [
        ([("HardSwish", ["c"], ["y"])], (-3.0, np.inf)),
        ([("HardSigmoid", ["c"], ["y"])], (-2.5, 2.5)),
        ([("HardSigmoid", ["c"], ["h"]), ("Mul", ["c", "h"], ["y"])], (-2.5, np.inf)),
        ([("Relu", ["c"], ["y"])], None),
    ],
)
def test_bounds_are_where_the_activation_saturates(followers: Any, bounds: Any):
    """0.2 and 0.5 are hard-sigmoid's own slope and offset in ONNX."""
    assert saturated(graph(*followers)).get("c") == (pytest.approx(bounds) if bounds else None)


def test_histograms_count_every_value_of_every_activation(tmp_path: Path):
    onnx.save(graph(("Relu", ["c"], ["r"]), ("Neg", ["r"], ["y"])), tmp_path / "m.onnx")
    images = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    seen = histograms(str(tmp_path / "m.onnx"), images)
    assert list(seen) == ["images", "c", "r"]  # the logits are never quantized
    c = np.einsum("nchw,c->nhw", images, [1.0, 2.0, 3.0])
    for name, values in (("images", images), ("c", c), ("r", np.maximum(c, 0))):
        assert (seen[name].low, seen[name].high) == pytest.approx((values.min(), values.max()), abs=1e-5)
        assert seen[name].counts.sum() == values.size


@pytest.mark.parametrize(
    "shape", [(1, 96, 112, 112), (1, 144, 56, 56), (1, 960, 49, 7), (1, 40, 28, 28), (4, 1000)]
)
def test_of_a_large_tensor_every_column_is_counted(shape: tuple[int, ...]):
    """A step that shares a factor with the rows' length would never meet some columns."""
    places = np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)
    counted = ranges.some_values(places)
    assert len(counted) <= ranges._MOST_COUNTED
    found = np.bincount(counted.astype(np.int64), minlength=shape[-1])
    assert found.min() > 0.9 * found.mean()
    if places.size <= ranges._MOST_COUNTED:
        assert np.array_equal(counted, places.ravel())
