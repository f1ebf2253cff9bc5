"""One name space for the devices of both runtimes, and what `edge-tl devices` knows of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from device.conftest import verify

from edge_tl.device.artifact_choice import open_best
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.runtimes import devices, openvino_
from edge_tl.device.runtimes.base import OfferedDevices, did_you_mean

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


def offers(*, trials: bool = True) -> dict[str, Any]:
    """As `edge-tl devices --json` prints it."""
    return {name: offer and offer.to_json() for name, offer in devices.accelerators(trials=trials).items()}


def test_the_cpu_concerns_every_artifact(bundle_root: Path) -> None:
    artifacts = read_bundle(bundle_root).artifacts
    for name in ("CPU", "cpu"):
        assert devices.runnable_artifacts(artifacts, name) == (artifacts, [])


@pytest.mark.parametrize("device", ["AUTO", "auto", "Hetero:cpu"])
def test_a_device_of_one_runtime_leaves_the_others_artifacts_out(bundle_root: Path, device: str) -> None:
    kept, skipped = devices.runnable_artifacts(read_bundle(bundle_root).artifacts, device)
    assert [a.id for a in kept] == ["openvino-fp32", "openvino-int8"]
    assert [entry["artifact"] for entry in skipped] == ["onnx-fp32", "onnx-int8"]
    assert all(f"--device {device}: ONNX Runtime " in entry["reason"] for entry in skipped)


def test_verify_runs_what_can_and_names_the_rest(bundle_root: Path) -> None:
    result = verify(read_bundle(bundle_root), device="auto")
    assert result["passed"]
    assert set(result["ran"]) == {"openvino-fp32", "openvino-int8"}
    assert {entry["artifact"] for entry in result["skipped"]} == {"onnx-fp32", "onnx-int8"}


def test_predict_takes_an_artifact_that_the_device_concerns(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    bundle = replace(bundle, record=replace(bundle.record, recommended="onnx-fp32"))
    chosen, runtime = open_best(bundle, device="AUTO")
    assert (chosen.id, runtime.name) == ("openvino-fp32", "openvino")


@pytest.mark.parametrize("asked", ["all", "onnx"])
def test_a_device_of_no_runtime_is_refused_with_everything_there_is(bundle_root: Path, asked: str) -> None:
    artifacts = [a for a in read_bundle(bundle_root).artifacts if asked in ("all", a.id.partition("-")[0])]
    with pytest.raises(BadInput) as caught:
        devices.runnable_artifacts(artifacts, "AUTT")
    said = str(caught.value)
    assert said.startswith("--device AUTT: ONNX Runtime ")
    assert ("; OpenVINO " in said) == (asked == "all")
    assert said.endswith("Did you mean AUTO? Choose one of these.")


def test_a_missing_runtime_is_a_reason(bundle_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _, skipped = devices.runnable_artifacts(read_bundle(bundle_root).artifacts, "AUTO")
    assert {e["reason"] for e in skipped} == {"--device AUTO: ONNX Runtime is not installed"}


@pytest.mark.parametrize("device", ["CPU", "cpu"])
def test_on_the_cpu_too(bundle_root: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    kept, skipped = devices.runnable_artifacts(read_bundle(bundle_root).artifacts, device)
    assert [a.id for a in kept] == ["onnx-fp32", "onnx-int8"]
    assert [e["artifact"] for e in skipped] == ["openvino-fp32", "openvino-int8"]
    assert all(e["reason"].endswith('Run: pip install "edge-tl[openvino]"') for e in skipped)


@pytest.mark.parametrize("device", ["CPU", "AUTO"])
def test_without_any_runtime_the_extra_is_that_of_the_artifacts(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    artifacts = read_bundle(bundle_root).artifacts
    for kind, extra in (("onnx", "ort"), ("openvino", "openvino")):
        with pytest.raises(MissingExtra) as caught:
            devices.runnable_artifacts([a for a in artifacts if a.id.startswith(kind)], device)
        assert caught.value.extra == extra


def test_names_are_found_in_any_case_and_under_what_people_call_them() -> None:
    offer = OfferedDevices("ONNX Runtime 1", ["Tensorrt", "CUDA", "Dml", "CPU"])
    found = [offer.find(name) for name in ("cuda", "TensorRT", "trt", "DirectML", "dml", "GPU", "")]
    assert found == ["CUDA", "Tensorrt", "Tensorrt", "Dml", "Dml", None, None]
    with pytest.raises(BadInput, match=r"--device CUDDA: ONNX Runtime 1 offers .*CPU\. Did you mean CUDA\?"):
        offer.choose("CUDDA")
    assert did_you_mean("GPU", ["CPU"]) == ""


def test_the_first_of_two_gpus_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    core = SimpleNamespace(available_devices=["CPU", "GPU.0", "GPU.1"])
    monkeypatch.setattr(openvino_, "openvino_core", lambda: core)
    assert openvino_.offered_devices().names == ["CPU", "GPU.0", "GPU.1", "GPU", "AUTO"]
    assert openvino_.resolve_device("gpu.1") == "GPU.1"
    assert openvino_.resolve_device("auto:gpu.1,cpu") == "AUTO:GPU.1,CPU"
    with pytest.raises(BadInput, match="--device NPU: OpenVINO"):
        openvino_.resolve_device("AUTO:NPU")


@pytest.mark.parametrize(("name", "offer"), [("onnxruntime", "providers"), ("openvino", "devices")])
def test_accelerators_of_this_machine(name: str, offer: str) -> None:
    found = offers()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"onnxruntime", "openvino"}
    runtime = found[name]
    if importlib.util.find_spec(name) is None:
        assert runtime is None
        return
    assert runtime is not None
    assert set(runtime) == {"version", offer, "sessions"}
    sessions = runtime["sessions"]
    assert {"name": "CPU", "works": True, "reason": None} in sessions
    assert "CPU" in str(runtime[offer])
    assert str(runtime["version"]).count(".") >= 2


def test_accelerators_missing_and_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        available_devices = ("CPU", "GPU")

        def get_property(self, device: str, name: str) -> str | list[str]:
            if device == "GPU":
                raise RuntimeError("driver")
            return "Intel(R) N100" if name == "FULL_DEVICE_NAME" else ["FP32", "INT8"]

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Core, __version__="2025.0.0-17942-abc"))
    monkeypatch.setattr(openvino_, "openvino_core", Core)  # not this process's real one
    listed = [
        {"name": "CPU", "full_name": "Intel(R) N100", "capabilities": ["FP32", "INT8"]},
        {"name": "GPU", "full_name": None, "capabilities": []},
    ]
    found = offers(trials=False)
    assert found == {"onnxruntime": None, "openvino": {"version": "2025.0.0", "devices": listed}}
    # Installed but unusable is not missing; the message is left out, because it may hold paths.
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="1.20.1"))
    broken = {"version": "1.20.1", "providers": [], "error": "AttributeError"}
    assert offers(trials=False)["onnxruntime"] == broken
    monkeypatch.delitem(sys.modules, "onnxruntime")
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("import a_missing_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    runtime = offers(trials=False)["onnxruntime"]
    assert runtime is not None
    assert runtime["error"] == "ModuleNotFoundError"
