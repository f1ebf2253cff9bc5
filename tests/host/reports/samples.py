"""The sample records of a bundle and of a run as JSON, and what the reports make of a record in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports import markdown
from edge_tl.host.reports.bundle_tables import artifact_table
from edge_tl.host.reports.table import Row
from edge_tl.host.runs.record import RunRecord

RECORDS = Path(__file__).parents[2] / "records"
LIMITS = {"device_max_abs_diff": 1.0, "golden_agreement": 1.0, "max_drop_pp": 0.5}


def sample(name: str) -> dict[str, Any]:
    """`tests/records/NAME.json`."""
    loaded: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
    return loaded


def bundle(record: dict[str, Any]) -> BundleRecord:
    return BundleRecord.from_json(record)


def with_changed_image(record: dict[str, Any], image: str) -> BundleRecord:
    """With this name of an image whose answer changed, which is not checked."""
    whole = bundle(record)
    artifacts = list(whole.artifacts)
    first, *others = artifacts[1].changed or ()
    artifacts[1] = replace(artifacts[1], changed=(replace(first, image=image), *others))
    return replace(whole, artifacts=tuple(artifacts))


def run(record: dict[str, Any]) -> RunRecord:
    return RunRecord.from_json(record)


def bundle_markdown(record: dict[str, Any]) -> str:
    return markdown.bundle_markdown(bundle(record))


def run_markdown(record: dict[str, Any]) -> str:
    return markdown.run_markdown(run(record))


def artifact_rows(record: dict[str, Any]) -> list[Row]:
    return list(artifact_table(bundle(record)).rows)


def unmeasured(*artifacts: dict[str, Any], **other: Any) -> dict[str, Any]:
    """A bundle of which nothing was measured yet; each artifact is its id and what else is known of it."""
    base = sample("bundle")
    filled = []
    for artifact in artifacts:
        kind, precision = artifact["id"].split("-")
        names = ["m.onnx"] if kind == "onnx" else ["m.xml", "m.bin"]
        filled.append(
            {
                "runtime": "onnxruntime" if kind == "onnx" else "openvino",
                "precision": precision,
                "files": [{"path": name, "sha256": "0" * 64, "bytes": 10} for name in names],
                "limits": LIMITS,
                **artifact,
            }
        )
    kept = {key: base[key] for key in ("schema_version", "name", "labels", "preprocess", "golden")}
    return {**kept, "reference": {}, "artifacts": filled, "provenance": {}, **other}
