"""Bundles of earlier versions are read as they were, and what their seal left out is checked otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.conftest import verify

from edge_tl.device.artifact_choice import best_first
from edge_tl.device.bundle import GOLDEN_LOGITS, GOLDEN_PIXELS, RECORD, read_bundle, read_report
from edge_tl.device.errors import BundleError
from edge_tl.device.slim import slim

STORED = Path(__file__).parents[1] / "records" / "bundle-of-version-1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "old"))


@pytest.fixture(params=[1, 2])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of that version as it was written then; of version 2 with the record of a whole export."""
    name = f"bundle-of-version-{request.param}"
    return Path(shutil.copytree(STORED.parent / name, tmp_path / name))


def test_a_stored_bundle_is_read_and_its_record_says_all_that_was_written(stored: Path) -> None:
    bundle = read_bundle(stored)
    written = json.loads((stored / RECORD).read_text("utf-8"))
    assert holds(bundle.record.to_json(), written)
    assert bundle.record.schema_version == int(stored.name[-1])
    result = verify(bundle, artifacts=["onnx-fp32", "openvino-fp32"])
    assert result["passed"]
    assert len(best_first(bundle, bundle.artifacts)) == 4


def test_a_stored_report_is_read_and_says_all_that_was_written() -> None:
    root = STORED.parent / "bundle-of-version-2"
    assert read_report(root).to_json() == json.loads((root / "report.json").read_text("utf-8"))
    assert read_bundle(root).record.to_json() == json.loads((root / RECORD).read_text("utf-8"))


def test_a_stored_bundle_is_slimmed_with_all_that_its_record_says(stored: Path, tmp_path: Path) -> None:
    whole = read_bundle(stored).record
    record = slim(read_bundle(stored), ["onnx-fp32", "onnx-int8"], tmp_path / "small")
    assert record.artifacts == tuple(a for a in whole.artifacts if a.runtime == "onnxruntime")
    assert record.reference == whole.reference
    assert record.provenance.slimmed is not None
    assert verify(read_bundle(tmp_path / "small"))["passed"]


def holds(record: Any, written: Any) -> bool:
    """Whether `record` says all that `written` does, and beside it nothing but nulls."""
    if isinstance(written, dict):
        more = {key: value for key, value in record.items() if key not in written}
        return all(value is None for value in more.values()) and all(
            key in record and holds(record[key], value) for key, value in written.items()
        )
    if isinstance(written, list):
        return len(record) == len(written) and all(map(holds, record, written))
    return bool(record == written)


def test_a_bundle_of_version_1_is_read_verified_and_used(old: Path) -> None:
    bundle = read_bundle(old)
    assert bundle.labels == ["dog", "cat", "eel"]
    result = verify(bundle, artifacts=["onnx-fp32", "openvino-fp32"])
    assert result["passed"]
    assert [gate["gate"] for gate in result["gates"]].count("device") == 2
    assert bundle.open("onnx-fp32").predict(old / "golden/images/04.png").label == "eel"
    assert read_report(old).name == "tiny"


def _edited(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((root / RECORD).read_text("utf-8"))
    change(record)
    (root / RECORD).write_text(json.dumps(record), "utf-8")


@pytest.mark.parametrize("name", [GOLDEN_PIXELS, GOLDEN_LOGITS, "golden/images/02.png"])
def test_no_file_of_version_1_leaves_its_list(old: Path, name: str) -> None:
    """The seal of version 1 does not see this."""

    def drop(record: dict[str, Any]) -> None:
        record["golden"]["files"] = [f for f in record["golden"]["files"] if f["path"] != name]

    _edited(old, drop)
    with pytest.raises(BundleError, match=f"{name}' has no hash"):
        read_bundle(old)


def test_no_record_of_version_1_is_taken_for_one_of_version_2(old: Path) -> None:
    _edited(old, lambda record: record.update(schema_version=2))
    with pytest.raises(BundleError, match="altered after export"):
        read_bundle(old)


@pytest.mark.parametrize("version", [0, 3, True, "1", None])
def test_other_versions_are_refused_in_a_sentence(old: Path, version: object) -> None:
    _edited(old, lambda record: record.update(schema_version=version))
    with pytest.raises(BundleError, match=r"schema_version .*reads 1 and 2"):
        read_bundle(old)
