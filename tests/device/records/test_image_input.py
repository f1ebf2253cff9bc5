"""What a record of an artifact of raw pixels may say, and what its images may take of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bench.run import bench
from edge_tl.device.bench.sweep import time_sweep
from edge_tl.device.bench.workloads import Selection, workloads
from edge_tl.device.bundle import Artifact, Bundle, read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.records.image_input import ImageInputRecord

OWN: dict[str, Any] = {
    "size": [30, 40], "n": 9, "flips": 0, "levels_max": 1, "levels_mean": 0, "probability_diff_max": 0
}  # fmt: skip


@pytest.mark.parametrize(("change", "word"), [({"size": [65536, 65536]}, "size"), ({"flips": 10}, "flips")])
def test_a_record_that_cannot_be_is_refused(change: dict[str, Any], word: str) -> None:
    """Two sides of 65,536 made a bench take 13 GB of memory."""
    assert ImageInputRecord.from_json(OWN).size == (30, 40)
    with pytest.raises(BundleError, match=word):
        ImageInputRecord.from_json(OWN | change)


@pytest.fixture
def opened(bundle_root: Path) -> Bundle:
    """Whose first artifact is said to take raw pixels."""
    found = read_bundle(bundle_root)
    first, *others = found.artifacts
    own = ImageInputRecord.from_json(OWN)
    named = replace(first.record, id=f"{first.id}-image", input="image", image_input=own)
    artifacts = [replace(first, record=named), *others]
    record = replace(found.record, artifacts=tuple(each.record for each in artifacts))
    return replace(found, record=record, artifacts=artifacts)


def test_images_that_are_not_decoded_are_not_made(opened: Bundle) -> None:
    [only] = workloads(opened, opened.artifacts[:1])
    assert only.spec["shape"] == [1, 30, 40, 3]
    small = replace(opened, preprocess=replace(opened.preprocess, max_pixels=100))
    with pytest.raises(BadInput, match="30x40, more pixels than are decoded"):
        workloads(small, opened.artifacts[:1])


def test_batches_of_it_are_refused_before_anything_is_timed(opened: Bundle) -> None:
    """The whole bench ended after minutes."""
    name = opened.artifacts[0].id
    with pytest.raises(BadInput, match=f"{name} takes one image a call"):
        bench(opened, BenchOptions(artifacts=(name,), batches=(1, 4), quick=True))


def test_batches_of_the_others_are_timed(opened: Bundle) -> None:
    chosen: list[Artifact] = list(opened.artifacts[:2])
    rows, skipped = time_sweep(Selection(opened, chosen), batches=(2,), effort=Effort(rounds=1, count=1))
    assert [(row.artifact, row.batch) for row in rows] == [(chosen[1].id, 2)]
    assert [(each.artifact, each.reason) for each in skipped] == [
        (f"{chosen[0].id} (sweep)", "it takes one image a call, so it has no batches")
    ]
