"""Front, pick and nearest miss against their definitions, written out over all pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from edge_tl.device.metrics import wilson_interval
from edge_tl.host.comparison import pareto
from edge_tl.host.comparison.pareto import Budget, Point

N = 20
# Few values, so that ties of both kinds are common.
LATENCIES = st.none() | st.sampled_from([1.0, 1.5, 2.0, 4.0])


@st.composite
def fields(draw: st.DrawFn) -> list[Point]:
    figures = draw(st.lists(st.tuples(st.integers(0, N), LATENCIES), max_size=8))
    return [Point(f"t{i}", right, N, latency) for i, (right, latency) in enumerate(figures)]


budgets = st.builds(
    Budget,
    st.none() | st.sampled_from([0.5, 1.0, 1.7, 4.0]),
    st.none() | st.sampled_from([0.1, 0.5, 0.95, 1.0]),
)


def beats(a: Point, b: Point) -> bool:
    if a.latency is None or b.latency is None:
        return False
    return a.right >= b.right and a.latency <= b.latency and (a.right > b.right or a.latency < b.latency)


@given(fields())
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    expected = {p.name for p in points if p.latency is not None and not any(beats(q, p) for q in points)}
    found = pareto.pareto_front(points)
    assert {p.name for p in found} == expected
    assert [p.time for p in found] == sorted(p.time for p in found)


@given(fields(), budgets)
def test_the_pick_keeps_the_budget_and_nothing_within_it_is_better(
    points: list[Point], budget: Budget
) -> None:
    def within(p: Point) -> bool:
        slow = budget.max_latency_ms is not None and (p.latency is None or p.latency > budget.max_latency_ms)
        poor = budget.min_accuracy is not None and p.right / N < budget.min_accuracy
        return not slow and not poor

    allowed = [p for p in points if within(p)]
    best = pareto.pick(points, budget)
    assert (best is None) == (not allowed)
    if best:
        assert within(best)
        assert best.right == max(p.right for p in allowed)
        assert best.time == min(p.time for p in allowed if p.right == best.right)
        second = pareto.runner_up(points, budget)
        assert (second is None) == (len(allowed) == 1)
        assert second is not best
        if second:
            assert second.right == sorted(p.right for p in allowed)[-2]
    else:
        fastest, strongest = pareto.nearest(points, budget)
        if fastest:
            assert fastest.right / N >= (budget.min_accuracy or 0)
            assert all(p.time >= fastest.time for p in points if p.right / N >= (budget.min_accuracy or 0))
        if strongest:
            assert budget.max_latency_ms is None or strongest.time <= budget.max_latency_ms


@given(fields())
def test_a_faster_rival_is_faster_and_not_shown_to_be_worse(points: list[Point]) -> None:
    best = pareto.pick(points, Budget())
    if best:
        rival = pareto.as_good_and_faster(points, best)
        shown = [
            p
            for p in points
            if p.time < best.time
            and fisher_exact([[p.right, N - p.right], [best.right, N - best.right]])[1] >= 0.05
        ]
        assert (rival is None) == (not shown)
        if rival:
            assert rival.time == min(p.time for p in shown)


def test_unmeasured_points_are_picked_only_without_a_limit() -> None:
    points = [Point("unmeasured", 20, N), Point("measured", 10, N, 1.0)]
    assert pareto.pick(points, Budget()).name == "unmeasured"  # type: ignore[union-attr]
    assert pareto.pick(points, Budget(max_latency_ms=5)).name == "measured"  # type: ignore[union-attr]
    assert [p.name for p in pareto.pareto_front(points)] == ["measured"]


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (81, 90), (1, 1000)])
def test_the_interval_is_wilsons(right: int, n: int) -> None:
    z, p = 1.959963984540054, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = wilson_interval(right, n)
    assert (low, high) == pytest.approx((max(centre - half, 0), min(centre + half, 1)), abs=1e-9)
    assert low <= binomtest(right, n).statistic <= high


def test_two_of_eighteen_are_noise_and_two_hundred_of_eighteen_hundred_are_not() -> None:
    assert pareto.p_value(Point("a", 18, 18), Point("b", 16, 18)) > 0.4
    assert pareto.p_value(Point("a", 1800, 1800), Point("b", 1600, 1800)) < 1e-9
