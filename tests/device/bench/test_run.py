"""A bench of the tiny bundle by its options: every kind of result is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bench.run import bench
from edge_tl.device.bundle import read_bundle
from edge_tl.device.records.bench import BenchResult

STORED = Path(__file__).parents[2] / "records" / "version-1" / "bench.json"
ONE = ("onnx-fp32",)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({"artifacts": ONE, "rounds": 3, "blocks": 1}, {"baseline"}),
        ({"artifacts": ONE, "aa": True, "rounds": 3, "blocks": 1}, {"noise", "baseline"}),
        ({"artifacts": ONE, "fps": 50.0, "seconds": 0.3, "load": 1}, set()),
        ({"artifacts": ONE, "fps": 50.0, "minutes": 0.005}, set()),
        (
            {"artifacts": ONE, "parts": True, "rounds": 1, "count": 2, "batches": (1,), "throughput": True},
            {"sweep", "throughput"},
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else "",
)
def test_every_kind_of_result_is_read_as_it_was_written(
    bundle_root: Path, given: dict[str, Any], keys: set[str]
) -> None:
    result = bench(read_bundle(bundle_root), BenchOptions(**given))
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert BenchResult.from_json(written) == result
    assert keys <= set(written)
    assert {"schema", "kind", "date", "machine", "conditions", "method", "skipped", "warnings"} <= set(
        written
    )
    assert (written["name"], list(written["bundle"])) == (
        "tiny",
        [a.id for a in read_bundle(bundle_root).artifacts],
    )
    assert [row["id"].removesuffix(" (again)") for row in written["artifacts"]][:1] == list(ONE)


def test_a_stored_result_keeps_every_key_and_value() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    written = BenchResult.from_json(stored).to_json()
    assert changed(stored, written) == []


def changed(before: Any, after: Any, place: str = "") -> list[str]:
    """Where a value of `before` is another one in `after`, or gone."""
    if isinstance(before, dict):
        missing = [f"{place}.{key}" for key in before if key not in after]
        return missing + [
            each
            for key in before
            if key in after
            for each in changed(before[key], after[key], f"{place}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            each
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            for each in changed(a, b, f"{place}[{i}]")
        ]
    return [] if before == after else [place]
