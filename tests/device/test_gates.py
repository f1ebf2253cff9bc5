"""The gates: a planted fault is found, and named by its room and no other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import CONTRACT, LABELS, tell, verify
from PIL import Image

from edge_tl.device.bundle import GOLDEN_LOGITS, read_bundle
from edge_tl.device.errors import BadInput, BundleError, MissingExtra
from edge_tl.device.records.gate import GateResult

Edit = Callable[..., None]
IDS = ["onnx-fp32", "openvino-fp32", "onnx-int8", "openvino-int8"]


def failed(result: dict[str, Any]) -> set[tuple[str, str | None]]:
    found = {(gate["gate"], gate["artifact"]) for gate in result["gates"] if not gate["passed"]}
    assert result["passed"] == (not found)
    return found


def change_logits(root: Path, **changed: Any) -> None:
    """Replace stored logits; a value is a function of the stored ones."""
    with np.load(root / GOLDEN_LOGITS) as file:
        stored = {name: file[name] for name in file.files}
    for name, change in changed.items():
        key = name.replace("_", "-")
        stored[key] = change(stored[key])
    np.savez(root / GOLDEN_LOGITS, **stored)


def test_an_intact_bundle_passes_every_gate(bundle_root: Path) -> None:
    result = verify(read_bundle(bundle_root))
    assert failed(result) == set()
    expected = {("pixels", None)} | {(gate, name) for gate in ("device", "loss") for name in IDS}
    assert {(gate["gate"], gate["artifact"]) for gate in result["gates"]} == expected
    assert len(result["gates"]) == len(expected)
    assert set(result["ran"]) == set(IDS)
    assert result["skipped"] == result["warnings"] == []
    assert "data" not in result
    assert result["gates"][0]["measured"] == 0.0
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    keys = {"gate", "artifact", "measured", "limit", "unit", "passed", "reason", "judged"}
    assert all(set(gate) == keys and gate["reason"] for gate in result["gates"])


@pytest.mark.parametrize("name", IDS)
def test_one_artifact_alone(bundle_root: Path, name: str) -> None:
    result = verify(read_bundle(bundle_root), artifacts=[name])
    assert failed(result) == set()
    assert {gate["artifact"] for gate in result["gates"]} == {None, name}
    assert list(result["ran"]) == [name]


@pytest.mark.parametrize("how", ["edit", "reseal"])
@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "nearest"},
        {"interpolation": "bicubic"},
        {"mean": [0.5, 0.456, 0.406]},
        {"std": [0.229, 0.224, 0.25]},
        {"resize_size": [22, 22]},
        {"resize": "exact"},
        {"crop": [15, 16]},
    ],
    ids=str,
)
def test_another_contract_fails_the_pixels_gate_alone(
    bundle_root: Path, request: pytest.FixtureRequest, how: str, change: dict[str, Any]
) -> None:
    request.getfixturevalue(how)(bundle_root, lambda record: record["preprocess"].update(change))
    result = verify(read_bundle(bundle_root, contract_unproven=True))
    assert failed(result) == {("pixels", None)}
    if how == "edit" or "crop" in change:
        assert result["gates"][0]["measured"] is None  # no pixels to compare
        with pytest.raises(BundleError):  # as every other verb reads it
            read_bundle(bundle_root)
    else:
        assert result["gates"][0]["measured"] > result["gates"][0]["limit"]


def test_another_golden_image_is_named(bundle_root: Path, reseal: Edit) -> None:
    Image.open(bundle_root / "golden/images/04.png").rotate(180).save(bundle_root / "golden/images/04.png")
    reseal(bundle_root)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == {("pixels", None)}
    assert "04.png" in result["gates"][0]["reason"]


def test_a_decoder_that_rounds_a_level_apart_passes(
    bundle_root: Path, reseal: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(bundle_root)
    with np.load(bundle_root / "golden/pixels.npz") as file:
        pixels = file["pixels"]
    level = (1 / 255 / np.array(bundle.preprocess.std, np.float32))[:, None, None]
    for shift, passes in ((1, True), (-1, True), (3, False)):
        np.savez_compressed(bundle_root / "golden/pixels.npz", pixels=pixels + np.float32(shift) * level)
        reseal(bundle_root)
        gate = verify(read_bundle(bundle_root), artifacts=["onnx-fp32"])["gates"][0]
        assert gate["measured"] == pytest.approx(abs(shift), abs=1e-3)
        assert gate["passed"] is passes


def test_an_undecodable_golden_fails_the_pixels_gate(bundle_root: Path, reseal: Edit) -> None:
    (bundle_root / "golden/images/02.png").write_bytes(b"no image")
    reseal(bundle_root)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == {("pixels", None)}
    assert "02.png" in result["gates"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("onnx-fp32", {"model.fp32.onnx": "other.onnx"}),
        ("openvino-fp32", {"model.fp32.bin": "other.bin"}),
        ("onnx-int8", {"model.int8.onnx": "other.onnx"}),
        ("openvino-int8", {"model.int8.xml": "other.xml", "model.int8.bin": "other.bin"}),
    ],
)
def test_other_weights_fail_that_artifacts_device_gate(
    bundle_root: Path, assets: Path, reseal: Edit, name: str, files: dict[str, str]
) -> None:
    for target, source in files.items():
        shutil.copy(assets / source, bundle_root / target)
    model = bundle_root / next(iter(files))
    if model.suffix != ".bin":
        tell(model, LABELS, CONTRACT)
    reseal(bundle_root)
    found = failed(verify(read_bundle(bundle_root)))
    assert ("device", name) in found
    assert found <= {("device", name), ("loss", name)}


def test_other_pytorch_logits_fail_the_loss_gates_alone(bundle_root: Path, reseal: Edit) -> None:
    change_logits(bundle_root, pytorch=lambda x: np.roll(x, 1, axis=1))
    reseal(bundle_root)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == {("loss", name) for name in IDS}
    assert all(gate["measured"] == 0.0 for gate in result["gates"] if gate["gate"] == "loss")


@pytest.mark.parametrize(("times", "found"), [(0.5, set()), (2.0, {("device", "openvino-fp32")})])
def test_the_device_limit_is_the_bundles(
    bundle_root: Path, reseal: Edit, times: float, found: set[tuple[str, str]]
) -> None:
    limit = read_bundle(bundle_root).artifact("openvino-fp32").limits.device_max_abs_diff

    def nudge(logits: np.ndarray) -> np.ndarray:
        logits[3, 1] += times * limit
        return logits

    change_logits(bundle_root, openvino_fp32=nudge)
    reseal(bundle_root)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == found
    gate = next(g for g in result["gates"] if (g["gate"], g["artifact"]) == ("device", "openvino-fp32"))
    assert gate["limit"] == limit
    assert gate["measured"] == pytest.approx(times * limit, abs=1e-4)


def test_a_nan_fails_and_stays_json(bundle_root: Path, reseal: Edit) -> None:
    change_logits(bundle_root, onnx_fp32=lambda x: x * np.nan)
    reseal(bundle_root)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == {("device", "onnx-fp32")}
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    "change", [lambda x: x[:, :2], lambda x: x[:, :1], lambda x: x[:3]], ids=["two", "one", "three-images"]
)
def test_stored_logits_of_another_shape_do_not_pass(bundle_root: Path, reseal: Edit, change: Any) -> None:
    """One class less, one class (which numpy would broadcast in silence), fewer images."""
    change_logits(bundle_root, onnx_fp32=change)
    reseal(bundle_root)
    try:
        found = failed(verify(read_bundle(bundle_root)))
    except BundleError:
        return
    assert ("device", "onnx-fp32") in found


@pytest.mark.parametrize(
    ("module", "gone"),
    [("openvino", ["openvino-fp32", "openvino-int8"]), ("onnxruntime", ["onnx-fp32", "onnx-int8"])],
)
def test_a_missing_runtime_is_skipped_and_the_other_judged(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch, module: str, gone: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = verify(read_bundle(bundle_root))
    assert failed(result) == set()
    assert [entry["artifact"] for entry in result["skipped"]] == gone
    assert all("pip install" in entry["reason"] for entry in result["skipped"])
    assert set(result["ran"]) == set(IDS) - set(gone)
    assert {gate["artifact"] for gate in result["gates"]} == {None, *IDS} - set(gone)


def test_no_runtime_at_all(bundle_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match="openvino"):
        verify(read_bundle(bundle_root), artifacts=["openvino-int8"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="pip install"):
        verify(read_bundle(bundle_root))


def test_unknown_artifact_and_device(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    with pytest.raises(BadInput, match="no artifact 'onnx-fp64'"):
        verify(bundle, artifacts=["onnx-fp32", "onnx-fp64"])
    with pytest.raises(BadInput, match="--device TPU9000"):
        verify(bundle, device="TPU9000")


LOSS = GateResult("loss", "onnx-int8", 3.0, 1.0, "pp", False, "").to_json()


@pytest.mark.parametrize(
    ("gates", "where"),
    [([LOSS], " (loss)"), ([], ""), ([LOSS | {"gate": "a-newer-one"}, LOSS], " (loss, a-newer-one)")],
)
def test_what_failed_at_export_is_a_warning(bundle_root: Path, reseal: Edit, gates: Any, where: str) -> None:
    def change(record: dict[str, Any]) -> None:
        record["gates"] = gates
        next(a for a in record["artifacts"] if a["id"] == "onnx-int8")["passed"] = False

    reseal(bundle_root, change)
    bundle = read_bundle(bundle_root)
    result = verify(bundle, artifacts=["onnx-int8"])
    assert result["passed"]
    assert result["warnings"][0].startswith(f"onnx-int8 failed its gates at export{where}:")
    assert verify(bundle, artifacts=["onnx-fp32"])["warnings"] == []


def test_int8_proven_on_other_instructions_is_a_warning(bundle_root: Path, reseal: Edit) -> None:
    from edge_tl.device.machine import int8_isa

    def proven(*names: str | None) -> Callable[[dict[str, Any]], None]:
        def change(record: dict[str, Any]) -> None:
            for artifact in record["artifacts"]:
                if artifact["precision"] == "int8":
                    artifact["proven_on"] = [{"isa": name} for name in names]

        return change

    def failing(record: dict[str, Any]) -> None:
        proven("amx_fp4", int8_isa())(record)
        for artifact in record["artifacts"]:
            if artifact["precision"] == "int8":  # a drop beyond the budget proves nothing
                artifact["proven_on"][1]["drop_pp"] = artifact["limits"]["max_drop_pp"] + 1

    reseal(bundle_root, failing)
    assert "was proven on amx_fp4, this CPU" in verify(read_bundle(bundle_root))["warnings"][0]
    reseal(bundle_root, proven("amx_fp4", "avx1024"))
    result = verify(read_bundle(bundle_root))
    assert result["passed"]
    assert len(result["warnings"]) == 2
    assert "was proven on amx_fp4 and avx1024" in result["warnings"][0]
    assert f"this CPU computes INT8 with {int8_isa()}" in result["warnings"][0]
    for names in (("amx_fp4", int8_isa()), (None,), ()):  # also proven on this one; unknown; an older bundle
        reseal(bundle_root, proven(*names))
        assert verify(read_bundle(bundle_root), artifacts=["onnx-fp32"])["warnings"] == []


@pytest.mark.parametrize("artifact", [0, 2])
@pytest.mark.parametrize("loose", [{"device_max_abs_diff": 1e9}, {"golden_agreement": 0.0}])
def test_limits_that_limit_nothing_are_refused(
    bundle_root: Path, reseal: Edit, artifact: int, loose: dict[str, float]
) -> None:
    """Sealed anew, any machine passed them."""
    reseal(bundle_root, lambda r: r["artifacts"][artifact]["limits"].update(loose))
    with pytest.raises(BundleError, match="looser than its golden logits imply"):
        verify(read_bundle(bundle_root), artifacts=[("onnx-fp32", "", "onnx-int8")[artifact]])
