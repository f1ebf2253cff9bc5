"""Order, bounds and the end of work by threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edge_tl.device.ordered_map import ordered_map


def test_answers_come_in_order_whoever_is_ready_first() -> None:
    gate = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert gate.wait(10)
        if item == 1:
            gate.set()
        return item * item

    assert list(ordered_map(work, range(20), threads=2, ahead=4)) == [i * i for i in range(20)]


def test_no_more_is_taken_than_was_allowed() -> None:
    taken = [0]

    def endless() -> Iterator[int]:
        while True:
            taken[0] += 1
            yield taken[0]

    stream = ordered_map(lambda item: item, endless(), threads=2, ahead=5)
    assert [next(stream) for _ in range(3)] == [1, 2, 3]
    assert taken[0] <= 3 + 5 + 1
    stream.close()


def test_what_the_work_raises_is_raised_in_its_place() -> None:
    def work(item: int) -> float:
        return 1 / (item - 2)

    stream = ordered_map(work, range(5), threads=3, ahead=4)
    assert [next(stream), next(stream)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(stream)
