"""What a person is told of images: a set that was read in different ways, aloud and once."""

from __future__ import annotations

from pathlib import Path

import pytest
from listening import Listening

from edge_tl.device.images import grey
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.dataset_notes import note_dataset


@pytest.mark.parametrize(
    ("remarks", "warned"),
    [
        ({"0": grey.EIGHT_BITS, "1": grey.FAINT}, True),
        ({"0": grey.EIGHT_BITS}, True),
        ({"0": grey.UNIT, "1": grey.UNIT, "2": grey.UNIT}, False),
        ({}, False),
    ],
)
def test_a_set_read_in_different_ways_is_a_warning(remarks: dict[str, str], warned: bool) -> None:
    samples = [Sample(f"{i}.png", 0, str(i), "train") for i in range(3)]
    lines: list[str] = []
    note_dataset(Dataset(Path("data"), ["x"], samples), remarks, Listening(note=lines.append))
    found = [line for line in lines if "read in different ways" in line]
    assert len(found) == int(warned)
    assert all(line.startswith("warning: ") for line in found)
