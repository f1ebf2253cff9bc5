"""A tune of the tiny bundle with real runtimes: what it picks, what it leaves out, and what opens afterwards."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.raw_pixels_bundle import add_raw_pixels

import edge_tl
from edge_tl.device.bundle import RECORD, read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.tuning.configurations import qualify
from edge_tl.device.tuning.options import TuneOptions
from edge_tl.device.tuning.run import tune

BRIEF = 0.05  # seconds: one round of the shortlist
ONE = ("onnx-fp32", "onnx-int8")
Edit = Callable[..., None]


def of(root: Path, **options: Any) -> TunedRecord:
    asked: dict[str, Any] = {"artifacts": ONE, "budget_s": BRIEF} | options
    return tune(read_bundle(root), TuneOptions(**asked))


def test_the_pick_is_written_beside_the_bundle_and_opened_by_default(
    bundle_root: Path,
) -> None:
    before = {path: path.read_bytes() for path in bundle_root.rglob("*") if path.is_file()}
    result = of(bundle_root)
    (written,) = (bundle_root / "tuned").iterdir()
    assert (str(written), written.stem) == (result.path, result.machine_id)
    stored = json.loads(written.read_text("utf-8"))
    assert "path" not in stored
    assert stored == {key: value for key, value in result.to_json().items() if key != "path"}
    assert TunedRecord.from_json(stored).to_json() == stored
    assert str(Path.home()) not in written.read_text("utf-8")
    assert all(path.read_bytes() == content for path, content in before.items()), (
        "the sealed files are as they were"
    )
    with edge_tl.load_bundle(bundle_root).open() as model:
        assert model.artifact.id == result.artifact
        assert model.runtime.threads == result.threads
        assert model.tuned == TunedRecord.from_json(stored)
        assert model.note is not None
        assert f": {result.artifact}, {result.threads} thread" in model.note
    for artifact, device in (("onnx-int8", None), (None, "CPU")):
        with edge_tl.load_bundle(bundle_root).open(artifact, device) as model:
            assert (model.tuned, model.note) == (None, None), "what is asked for wins"
    check_alternatives(result)


def check_alternatives(result: TunedRecord) -> None:
    """Each has its figures and a reason, and every number of threads was tried."""
    timed = [(result.artifact, result.threads), *((other.artifact, other.threads) for other in result.over)]
    assert len(set(timed)) == len(timed)
    assert {name for name, _ in timed} == set(ONE)
    counts = {1, max(1, cores_allowed() // 2), cores_allowed()}
    assert {threads for _, threads in timed} == counts
    for other in result.over:
        assert other.latency_ms.n
        assert other.ratio is not None
        assert other.reason
    assert result.ran is not None
    assert result.ran.device == result.device == "CPU"


@pytest.mark.parametrize(("objective", "key"), [("throughput", "images_per_s"), ("memory", "memory_mb")])
def test_another_objective_has_its_own_figure(bundle_root: Path, objective: Any, key: str) -> None:
    result = of(bundle_root, objective=objective, artifacts=ONE)
    best = getattr(result, key)
    others = [getattr(other, key) for other in result.over]
    assert best > 0
    assert all(other > 0 for other in others)
    worse = min(others) < best if objective == "throughput" else max(others) > best
    assert worse or max(others) < 1.1 * best


def test_nothing_within_the_limit_is_a_result_and_an_older_pick_stays(bundle_root: Path) -> None:
    (bundle_root / "tuned").mkdir()
    (bundle_root / "tuned" / "before.json").write_text("{}")
    result = of(bundle_root, max_p95_ms=1e-6)
    assert (result.artifact, result.device, result.threads, result.latency_ms, result.path) == (None,) * 5
    assert result.nearest == result.over[0].artifact
    assert "over the limit of 1e-06 ms" in result.over[0].reason
    assert [path.name for path in (bundle_root / "tuned").iterdir()] == ["before.json"]


def test_a_pick_that_cannot_be_written_is_refused_before_anything_is_measured(
    bundle_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk the minutes of measuring were lost at their end."""

    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("the gates ran")

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("edge_tl.device.tuning.run.qualify", measured)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.NamedTemporaryFile", read_only)
        with pytest.raises(BundleError, match=r"cannot be written into .*tuned \(Read-only file system\)"):
            of(bundle_root)
    (tmp_path / "elsewhere").mkdir()
    (bundle_root / "tuned").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a link that leaves it"):
        of(bundle_root)


def test_what_fails_a_gate_here_or_failed_at_export_is_left_out(bundle_root: Path, reseal: Edit) -> None:
    def change(record: dict[str, Any]) -> None:
        by_id = {artifact["id"]: artifact for artifact in record["artifacts"]}
        by_id["openvino-int8"]["passed"] = False
        by_id["onnx-int8"]["passed"] = False
        gate = {"measured": 1.0, "limit": 0.5, "unit": "x", "passed": False, "reason": "r", "judged": True}
        record["gates"] = [
            gate | {"gate": "loss", "artifact": "openvino-int8"},
            gate | {"gate": "speed", "artifact": "onnx-int8"},
        ]

    shutil.copy(bundle_root / "model.int8.onnx", bundle_root / "model.fp32.onnx")
    reseal(bundle_root, change)
    found = qualify(read_bundle(bundle_root), TuneOptions())
    assert [artifact.id for artifact in found.by_device["CPU"]] == ["openvino-fp32", "onnx-int8"], (
        "who was slow on the host may be the fastest here"
    )
    said = {entry.artifact: entry.reason for entry in found.skipped}
    assert "failed its gates at export (loss)" in said["openvino-int8"]
    assert said["onnx-fp32"].startswith("failed the device gate here: this machine computes other logits")
    named = qualify(read_bundle(bundle_root), TuneOptions(artifacts=("openvino-int8",)))
    assert not named.by_device, "nothing would use the pick"
    assert [entry.artifact for entry in named.skipped] == ["openvino-int8"]


def test_an_artifact_that_does_not_open_costs_no_other(bundle_root: Path, reseal: Edit) -> None:
    path = bundle_root / "model.int8.xml"
    text = path.read_text("utf-8")
    path.write_text(text.replace('type="Convolution"', 'type="Convolutiom"'), encoding="utf-8")
    reseal(bundle_root)
    found = qualify(read_bundle(bundle_root), TuneOptions())
    assert {artifact.id for artifact in found.by_device["CPU"]} == {"onnx-fp32", "onnx-int8", "openvino-fp32"}
    (skipped,) = (entry for entry in found.skipped if entry.artifact == "openvino-int8")
    assert skipped.reason


def test_raw_pixels_are_compared_with_each_other_alone(bundle_root: Path) -> None:
    add_raw_pixels(bundle_root)
    qualified = qualify(read_bundle(bundle_root), TuneOptions(device="CPU"))
    assert {each.takes_pixels for each in qualified.by_device["CPU"]} == {False}
    left_out = {each.artifact for each in qualified.skipped if "holds the preprocessing" in each.reason}
    assert left_out == {each.id for each in read_bundle(bundle_root).artifacts if each.takes_pixels}
    with pytest.raises(
        BadInput, match="onnx-fp32-image: its time holds the preprocessing, and that of onnx-fp32"
    ):
        of(bundle_root, artifacts=("onnx-fp32", "onnx-fp32-image"))
    result = of(bundle_root, artifacts=("onnx-fp32-image", "onnx-int8-image"))
    assert result.artifact in ("onnx-fp32-image", "onnx-int8-image")
    with edge_tl.load_bundle(bundle_root).open() as model:
        assert model.artifact.id == result.artifact


def test_options_that_cannot_be(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    for given in (
        {"objective": "beauty"},
        {"max_p95_ms": -1.0},
        {"budget_s": 0.0},
        {"budget_s": float("nan")},
        {"wait_quiet_s": 86401.0},
    ):
        with pytest.raises(BadInput, match="--"):
            TuneOptions(**given)
    with pytest.raises(BadInput, match="give a name"):  # an empty name is not every device
        TuneOptions(device="")
    with pytest.raises(BadInput, match="no artifact 'onnx-fp64'"):
        tune(bundle, TuneOptions(artifacts=("onnx-fp64",)))
    with pytest.raises(BadInput, match="--device TPU9000"):
        tune(bundle, TuneOptions(device="TPU9000"))
    assert not (bundle_root / "tuned").exists()
    assert (bundle_root / RECORD).is_file()
