"""Which units leave train: the order, the guards, and units of several classes."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.host.images.split import assign_splits
from edge_tl.host.seeded import seeded_order


def singles(*counts: int) -> dict[str, tuple[tuple[int, int], ...]]:
    return {f"{label}/{i}": ((label, 1),) for label, n in enumerate(counts) for i in range(n)}


def test_single_images_are_taken_in_the_order_of_their_hash():
    units = singles(20, 10)
    place = assign_splits(units, {"val": 0.25, "test": 0.1}, seed=5, pinned=())
    for label, val, test in ((0, 5, 2), (1, 2, 1)):
        queue = seeded_order((u for u in units if u.startswith(f"{label}/")), 5, name=str)
        assert [u for u in queue if place.get(u) == "val"] == queue[:val]
        assert [u for u in queue if place.get(u) == "test"] == queue[val : val + test]
    assert (
        assign_splits(dict(reversed(units.items())), {"val": 0.25, "test": 0.1}, seed=5, pinned=()) == place
    )


def test_pinned_units_stay_and_count():
    units = singles(8)
    pinned = [f"0/{i}" for i in range(7)]
    assert assign_splits(units, {"val": 0.5}, seed=0, pinned=pinned) == {"0/7": "val"}
    assert assign_splits(units, {"val": 0.5}, seed=0, pinned=units) == {}


def test_units_that_are_all_too_large_give_the_one_that_is_least_so():
    units = {"a": ((0, 30),), "b": ((0, 20),), "c": ((0, 40),)}
    for seed in range(9):
        assert assign_splits(units, {"val": 0.1, "test": 0.1}, seed=seed, pinned=()) == {"b": "val"}


def test_train_keeps_an_image_of_every_class():
    units = {"both": ((0, 1), (1, 1)), "more": ((0, 1),)}
    for seed in range(9):
        # "both" is all there is of class 1; of class 0, "more" may go.
        assert assign_splits(units, {"val": 0.9, "test": 0.9}, seed=seed, pinned=()) == {"more": "val"}


@pytest.mark.parametrize(
    ("seed", "groups"),
    [
        (26358, [{1: 4, 2: 4}, {0: 3}, {0: 4, 2: 2}, {0: 1, 1: 1}]),
        (2344, [{0: 3, 1: 1}, {1: 2}, {2: 1}, {0: 4, 2: 4}]),
        (6388, [{1: 1}, {1: 3, 2: 1}, {0: 2, 1: 4}, {0: 3, 2: 3}]),
    ],
)
def test_the_rarest_class_chooses_first(seed: int, groups: list[dict[int, int]]):
    """Found by search: a class finds nothing to validate with when classes choose by number, or the commonest first."""
    place = assign_splits(
        {f"g{i}": tuple(group.items()) for i, group in enumerate(groups)}, {"val": 0.2}, seed=seed, pinned=()
    )
    assert {label for unit in place for label in groups[int(unit[1:])]} == {0, 1, 2}


@given(
    st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 4), min_size=1), min_size=2, max_size=7),
    st.integers(0, 99),
)
def test_every_class_validates_wherever_that_can_be(groups: list[dict[int, int]], seed: int):
    """Against every way there is to halve the groups."""
    units = {str(i): tuple(group.items()) for i, group in enumerate(groups)}

    def classes(inside: list[bool]) -> set[int]:
        return {label for group, taken in zip(groups, inside, strict=True) if taken for label in group}

    both = {label for group in groups for label in group}
    place = assign_splits(units, {"val": 0.2, "test": 0.2}, seed=seed, pinned=())
    assert classes([unit not in place for unit in units]) == both
    halves = product([False, True], repeat=len(groups))
    if any(classes(list(half)) == both == classes([not taken for taken in half]) for half in halves):
        assert classes([place.get(unit) == "val" for unit in units]) == both
