"""Ratios and whether their intervals hold what they promise, by simulation. No clock is read."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tl.device.bench import ratio
from edge_tl.device.bench.timer import Samples

Blocks = tuple[list[Samples], list[Samples], list[int]]


def simulate(
    rng: np.random.Generator,
    rounds: int,
    blocks: int,
    truth: float,
    *,
    luck: float = 0.01,
    tail: bool = False,
) -> Blocks:
    """Blocks of 5 calls. Each block pair has a drift that both sides share, each process its own luck (`tail`: now and
    then four times as much), each call noise with heavy tails."""
    base, other, names = [], [], []
    for number in range(rounds):
        scale = luck * np.where(tail and rng.random(2) < 0.1, 4, 1)
        process = rng.normal(0, 1, 2) * scale
        for _ in range(blocks):
            drift = rng.normal(0, 0.3)
            noise = np.abs(rng.standard_t(3, (2, 5))) * 0.03
            times = 1e7 * np.exp(drift + process[:, None] + noise) * np.array([[truth], [1.0]])
            base.append(times[0].astype(np.int64))
            other.append(times[1].astype(np.int64))
            names.append(number)
    return base, other, names


@pytest.mark.parametrize(("rounds", "blocks"), [(4, 5), (7, 10), (10, 20)])
@pytest.mark.parametrize("tail", [False, True])
def test_the_interval_holds_what_it_promises(rounds: int, blocks: int, tail: bool) -> None:
    rng, hits, trials = np.random.default_rng(rounds), 0, 100
    for trial in range(trials):
        truth = float(rng.choice([0.5, 1.0, 3.7]))
        base, other, names = simulate(rng, rounds, blocks, truth, tail=tail)
        interval = ratio.speedup(base, other, names, seed=trial).speedup_ci
        assert interval is not None
        low, high = interval
        hits += low <= truth <= high
    assert hits / trials >= 0.9, "95 % nominal; seeded"


def test_an_interval_over_blocks_alone_would_not() -> None:
    """Why rounds are drawn, not blocks: a percentile bootstrap of blocks of the same data covers far less."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        base, other, _ = simulate(rng, 7, 10, 1.0)
        logs = np.log([np.median(a) / np.median(b) for a, b in zip(base, other, strict=True)])
        low, high = np.quantile(np.median(rng.choice(logs, (300, len(logs))), axis=1), [0.025, 0.975])
        hits += low <= 0 <= high
    assert hits / 200 < 0.9


def test_a_planted_slow_down_of_5_percent_is_found() -> None:
    for seed in range(10):
        base, other, names = simulate(np.random.default_rng(seed), 10, 20, 1 / 1.05, luck=0.003)
        found = ratio.speedup(base, other, names)
        assert found.distinguishable is True
        assert found.speedup_ci is not None
        assert found.speedup_ci[1] < 1
        assert found.speedup == pytest.approx(1 / 1.05, rel=0.02)


def test_the_same_thing_is_not_told_apart_from_itself() -> None:
    found = [
        ratio.speedup(*simulate(np.random.default_rng(seed), 10, 20, 1.0, luck=0.003)) for seed in range(10)
    ]
    assert sum(one.distinguishable is False for one in found) >= 9
    for one in found:
        assert one.speedup_ci is not None
        assert one.speedup_ci[1] - one.speedup_ci[0] < 0.02


def test_speedup_is_seeded_and_directed() -> None:
    slow, fast, names = simulate(np.random.default_rng(1), 5, 3, 4.0)
    assert ratio.speedup(slow, fast, names, seed=3) == ratio.speedup(slow, fast, names, seed=3)
    up, down = (ratio.speedup(*pair, names).speedup for pair in ((slow, fast), (fast, slow)))
    assert up is not None
    assert down is not None
    assert up > 3
    assert down < 0.34
    same = ratio.speedup(slow, slow, names)
    assert same.to_json() == {"speedup": 1.0, "speedup_ci": [1.0, 1.0], "distinguishable": False}


def test_one_long_pause_does_not_move_the_speedup() -> None:
    """A median keeps the tail out of the estimate; the percentiles show it."""
    slow, fast, names = simulate(np.random.default_rng(1), 5, 3, 4.0)
    expected = ratio.speedup(slow, fast, names)
    for blocks in (slow, fast):
        blocks[2][blocks[2].argmax()] *= 10_000
    assert ratio.speedup(slow, fast, names) == expected


def test_two_rounds_have_no_interval_and_none_have_no_speedup() -> None:
    slow, fast, names = simulate(np.random.default_rng(1), 2, 8, 4.0)
    found = ratio.speedup(slow, fast, names)
    assert found.speedup is not None
    assert found.speedup > 3
    assert found.speedup_ci is None
    assert found.distinguishable is None
    assert ratio.speedup(slow, fast).speedup_ci is not None, "left out, each block is its own round"
    assert ratio.speedup([], []).to_json() == {
        "speedup": None, "speedup_ci": None, "distinguishable": None
    }  # fmt: skip
    with pytest.raises(ValueError, match="zip"):
        ratio.speedup(slow, fast[:1])


def grouped(blocks: list[Samples], names: list[int]) -> list[list[Samples]]:
    return [[b for b, n in zip(blocks, names, strict=True) if n == name] for name in dict.fromkeys(names)]


@pytest.mark.parametrize("truth", [1.0, 1.3])
def test_two_runs_at_different_times(truth: float) -> None:
    """Nothing is shared, so the rounds' own spread is all there is."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        one, names = (
            (1e7 * truth * np.exp(rng.normal(0, 0.02, (7, 1)) + rng.normal(0, 0.02, (7, 60)))),
            range(7),
        )
        two = 1e7 * np.exp(rng.normal(0, 0.04, (9, 1)) + rng.normal(0, 0.02, (9, 60)))
        found = ratio.unpaired(
            [[one[i].astype(np.int64)] for i in names], [[b.astype(np.int64)] for b in two]
        )
        assert found.speedup_ci is not None
        hits += found.speedup_ci[0] <= truth <= found.speedup_ci[1]
    assert hits / 200 >= 0.92


def test_unpaired_without_rounds_enough() -> None:
    slow, fast, names = simulate(np.random.default_rng(1), 2, 8, 4.0)
    found = ratio.unpaired(grouped(slow, names), grouped(fast, names))
    assert found.speedup == pytest.approx(4, rel=0.5)
    assert found.speedup_ci is None
    assert ratio.unpaired([], []).speedup is None
    same = grouped([np.full(5, 10, np.int64)] * 4, [0, 1, 2, 3])
    assert ratio.unpaired(same, same).speedup_ci == pytest.approx([1.0, 1.0])
    empty = ratio.unpaired([*same, [np.array([], np.int64)]], same)
    assert empty.speedup_ci == pytest.approx([1.0, 1.0]), "a round without a call is no round"
