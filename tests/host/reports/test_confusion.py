"""The confusion matrix of a record, whole or by its cells: the same pairs, and only where it is of the labels."""

from __future__ import annotations

import pytest

from edge_tl.device.records.accuracy import SparseConfusion
from edge_tl.host.reports.confusion import is_of, most_confused

WHOLE = ((9, 1, 0), (3, 7, 0), (0, 2, 0))
SPARSE = SparseConfusion(3, ((0, 0, 9), (0, 1, 1), (1, 0, 3), (1, 1, 7), (2, 1, 2)))


def test_a_matrix_and_its_cells_give_the_same_pairs() -> None:
    tables = [most_confused(matrix, ["a", "b", "c"], 2) for matrix in (WHOLE, SPARSE)]
    assert tables[0] == tables[1]
    assert [(row["label"], row["predicted"], row["share"]) for row in tables[0].rows] == [
        ("b", "a", "30.0"),
        ("c", "b", "100.0"),
    ]


@pytest.mark.parametrize(
    ("matrix", "classes", "fits"),
    [
        (WHOLE, 3, True),
        (SPARSE, 3, True),
        (WHOLE, 2, False),
        (SPARSE, 4, False),
        (((1, 2), (3,)), 2, False),
        (SparseConfusion(3, ((9, 9, 1),)), 3, False),
    ],
    ids=str,
)
def test_a_matrix_that_is_not_of_the_labels_is_told(
    matrix: SparseConfusion, classes: int, fits: bool
) -> None:
    assert is_of(matrix, classes) == fits
