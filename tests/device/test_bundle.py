"""A bundle is read as it was written, and a record that is not one is refused. Damage is in `test_bundle_damage.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import verify

from edge_tl.device import bundle as bundles
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.records.accuracy import ChangedAnswer
from edge_tl.device.records.bundle import BundleRecord

Edit = Callable[..., None]
CHANGED = {"image": "a.jpg", "label": "dog", "pytorch": "dog", "device": "cat"}
GOLDENS = ["00.jpg", "01.jpg", "02.png", "03.png", "04.png", "05.png"]


def test_round_trip(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    record = json.loads((bundle_root / bundles.RECORD).read_text("utf-8"))
    assert bundle.record.to_json() == record
    assert bundle.labels == record["labels"] == ["dog", "cat", "eel"]
    assert bundle.preprocess.to_json() == record["preprocess"]
    assert [a.id for a in bundle.artifacts] == [a["id"] for a in record["artifacts"]]
    suffixes = {a.id: (a.runtime, a.precision, a.path.name) for a in bundle.artifacts}
    assert suffixes == {
        "onnx-fp32": ("onnxruntime", "fp32", "model.fp32.onnx"),
        "openvino-fp32": ("openvino", "fp32", "model.fp32.xml"),
        "onnx-int8": ("onnxruntime", "int8", "model.int8.onnx"),
        "openvino-int8": ("openvino", "int8", "model.int8.xml"),
    }
    assert all(
        a.path.is_file() and a.limits.to_json() == r["limits"]
        for a, r in zip(bundle.artifacts, record["artifacts"], strict=True)
    )
    assert bundle.artifact("onnx-int8") is bundle.artifacts[2]


def test_goldens(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    pixels, logits = bundle.golden_pixels(), bundle.golden_logits()
    assert pixels.shape == (6, 3, 16, 16)
    assert pixels.dtype == np.float32
    assert [path.name for path in bundle.golden_images()] == GOLDENS
    for path, stored in zip(bundle.golden_images(), pixels, strict=True):
        assert np.array_equal(bundle.preprocess.apply(path), stored)
    assert set(logits) == {"pytorch", *(a.id for a in bundle.artifacts)}
    assert all(value.shape == (6, 3) and value.dtype == np.float32 for value in logits.values())
    assert len(set(logits["pytorch"].argmax(axis=1))) > 1, "goldens of one class prove little"


def test_a_moved_bundle_is_a_bundle(bundle_root: Path, tmp_path: Path) -> None:
    moved = shutil.move(bundle_root, tmp_path / "über raschung")
    assert verify(read_bundle(Path(moved)), artifacts=["onnx-fp32"])["passed"]


def test_unknown_artifact_names_those_there_are(bundle_root: Path) -> None:
    with pytest.raises(
        BadInput, match=r"no artifact 'x'.*onnx-fp32, openvino-fp32, onnx-int8, openvino-int8"
    ):
        read_bundle(bundle_root).artifact("x")


def test_a_folder_without_a_record_is_no_bundle(bundle_root: Path, tmp_path: Path) -> None:
    (bundle_root / bundles.RECORD).unlink()
    with pytest.raises(BundleError, match=r"not a bundle.*bundle\.json"):
        read_bundle(bundle_root)
    for path in (tmp_path / "none", bundle_root / "model.fp32.onnx"):
        with pytest.raises(BundleError, match="no such bundle"):
            read_bundle(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_record_that_is_no_json_object(bundle_root: Path, content: bytes) -> None:
    (bundle_root / bundles.RECORD).write_bytes(content)
    with pytest.raises(BadInput, match=r"bundle\.json"):
        read_bundle(bundle_root)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_schema_version_is_refused(bundle_root: Path, reseal: Edit, version: object) -> None:
    reseal(bundle_root, lambda record: record.update(schema_version=version))
    with pytest.raises(BundleError, match=rf"schema_version {version!r}.*reads 1 and 2"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "key", ["name", "labels", "preprocess", "reference", "artifacts", "golden", "provenance"]
)
def test_a_missing_key_is_named(bundle_root: Path, edit: Edit, key: str) -> None:
    edit(bundle_root, lambda record: record.pop(key))
    with pytest.raises(BundleError, match=rf"bundle\.json: {key}: it is missing"):
        read_bundle(bundle_root)


def test_a_key_that_a_newer_version_added_is_read_and_one_that_was_added_later_is_not(
    bundle_root: Path, reseal: Edit, edit: Edit
) -> None:
    """Keys may be added without another schema version: a device is older than its host, and still reads the bundle."""
    reseal(bundle_root, lambda record: record["artifacts"][0].update(newer=1))
    assert read_bundle(bundle_root).record.to_json()["artifacts"][0].get("newer") is None
    edit(bundle_root, lambda record: record.update(extra=1))
    with pytest.raises(BundleError, match="altered after export"):
        read_bundle(bundle_root)


@pytest.mark.parametrize("outside", ["../secret", "golden/../../secret", "{parent}/secret"])
@pytest.mark.parametrize("part", ["artifact", "golden"])
def test_a_file_outside_of_the_bundle_is_refused(
    bundle_root: Path, reseal: Edit, outside: str, part: str
) -> None:
    (bundle_root.parent / "secret").write_bytes(b"x")

    def change(record: dict[str, Any]) -> None:
        owner = record["golden"] if part == "golden" else record["artifacts"][0]
        owner["files"].append({"path": outside.format(parent=bundle_root.parent)})

    reseal(bundle_root, change)
    with pytest.raises(BundleError, match="outside"):
        read_bundle(bundle_root)


def test_a_golden_image_that_no_hash_covers_is_refused(bundle_root: Path, reseal: Edit) -> None:
    (bundle_root.parent / "secret.png").write_bytes((bundle_root / "golden/images/05.png").read_bytes())
    reseal(bundle_root, lambda record: record["golden"]["images"].__setitem__(5, "../secret.png"))
    with pytest.raises(BundleError):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(name="other"),
        lambda r: r["labels"].reverse(),
        lambda r: r["artifacts"][0]["limits"].update(device_max_abs_diff=1e9),
        lambda r: r["artifacts"][0].update(id="onnx-fp16"),
        lambda r: r["artifacts"].reverse(),
        lambda r: r["golden"]["images"].reverse(),
        lambda r: r["provenance"].update(seed=1),
        lambda r: r.pop("seal"),
        lambda r: r.update(seal="0" * 64),
    ],
    ids=["name", "labels", "limits", "id", "artifacts", "goldens", "seed", "no-seal", "zero-seal"],
)
def test_an_altered_record_is_refused(bundle_root: Path, edit: Edit, change: Any) -> None:
    edit(bundle_root, change)
    with pytest.raises(BundleError, match="altered after export"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(artifacts=5),
        lambda r: r.update(artifacts=[5]),
        lambda r: r["artifacts"][0].pop("id"),
        lambda r: r["artifacts"][0].update(files="model.fp32.onnx"),
        lambda r: r["artifacts"][1].update(files=r["artifacts"][1]["files"][1:]),  # the .bin without its .xml
        lambda r: r["artifacts"][0].update(limits={}),
        lambda r: r.update(golden=[]),
        lambda r: r.update(labels=7),
        lambda r: r.update(preprocess=[]),
    ],
    ids=[
        "artifacts",
        "artifact",
        "no-id",
        "files",
        "no-model-file",
        "no-limits",
        "golden",
        "labels",
        "preprocess",
    ],
)
def test_a_record_of_another_shape_is_a_bundle_error(bundle_root: Path, edit: Edit, change: Any) -> None:
    """Sealed as it is, so that only its shape is wrong; `verify` may be the one to notice."""

    def sealed(record: dict[str, Any]) -> None:
        change(record)
        try:
            record["seal"] = bundles.seal(record)
        except (AttributeError, TypeError):
            record["seal"] = ""

    edit(bundle_root, sealed)
    with pytest.raises(BundleError):
        verify(read_bundle(bundle_root))


def test_the_seal_survives_a_new_layout_of_the_json(bundle_root: Path) -> None:
    record = json.loads((bundle_root / bundles.RECORD).read_text("utf-8"))
    text = json.dumps(dict(reversed(record.items())), indent=7)
    (bundle_root / bundles.RECORD).write_text(text, encoding="utf-8")
    assert read_bundle(bundle_root).record.to_json() == record


def test_write_record_refuses_nan(bundle_root: Path, reseal: Edit) -> None:
    before = (bundle_root / bundles.RECORD).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        reseal(bundle_root, lambda record: record["reference"].update(accuracy=float("nan")))
    assert (bundle_root / bundles.RECORD).read_bytes() == before


def thousand(record: dict[str, Any]) -> dict[str, Any]:
    """The record as `export` makes it of a thousand classes, with evidence that only a report shows."""
    labels = [f"n{i:08d}, a name of a class as ImageNet has them" for i in range(1000)]
    confusion = {"classes": 1000, "cells": [[i, (i * j) % 1000, 3] for i in range(1000) for j in range(20)]}
    changed = [CHANGED | {"image": f"a/{i}.jpg"} for i in range(3000)]
    artifacts = [
        {**artifact, "confusion": confusion, "changed": changed, "ladder": {"rungs": [1]}, "quantization": {}}
        for artifact in record["artifacts"]
    ]
    reference = record["reference"] | {"confusion": confusion}
    return record | {"labels": labels, "artifacts": artifacts, "reference": reference}


def test_the_devices_record_is_small_and_the_report_has_it_all(tmp_path: Path, bundle_root: Path) -> None:
    """bundle.json had 39 MB with a thousand classes."""
    plain = {
        k: v for k, v in json.loads((bundle_root / bundles.RECORD).read_text()).items() if "seal" not in k
    }
    whole = thousand(plain)
    whole["bench"] = {"samples_ns": [1, 2]}
    bundles.write_record(tmp_path, BundleRecord.from_json(whole))
    device = json.loads((tmp_path / bundles.RECORD).read_text("utf-8"))
    assert (tmp_path / bundles.RECORD).stat().st_size < 200_000
    assert "confusion" not in device["reference"]
    assert not {"confusion", "changed", "ladder", "quantization"} & set(device["artifacts"][0])
    assert device["artifacts"][0].items() >= plain["artifacts"][0].items()
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert BundleRecord.from_json(report) == BundleRecord.from_json(whole)
    assert report["artifacts"][0].items() >= whole["artifacts"][0].items()
    assert report["bench"] == {"samples_ns": [1, 2]}
    assert device["report"]["sha256"] == bundles.file_record(tmp_path, "report.json").sha256


def test_the_report_is_read_where_it_is_and_checked(bundle_root: Path, reseal: Edit) -> None:
    assert bundles.read_report(bundle_root) == read_bundle(bundle_root).record
    reseal(bundle_root, lambda record: record["artifacts"][0].update(changed=[CHANGED]))
    assert read_bundle(bundle_root).record.artifacts[0].changed is None
    assert bundles.read_report(bundle_root).artifacts[0].changed == (ChangedAnswer.from_json(CHANGED),)
    text = (bundle_root / "report.json").read_text("utf-8")
    (bundle_root / "report.json").write_text(text.replace("a.jpg", "b.jpg"), encoding="utf-8")
    assert read_bundle(bundle_root)  # a device does not read it
    with pytest.raises(BundleError, match=r"damaged file in bundle: .*report\.json"):
        bundles.read_report(bundle_root)
    (bundle_root / "report.json").unlink()
    assert bundles.read_report(bundle_root) == read_bundle(bundle_root).record
