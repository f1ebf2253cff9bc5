"""Types of a file, beside what the onnx package reads of it; and files that TensorRT's parser refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.runtimes import devices, onnxruntime_, providers
from edge_tl.device.runtimes.onnx_tensors import read_onnx_tensors
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime
from edge_tl.device.runtimes.providers import Provider

pytest.importorskip("onnxruntime")


def saved(path: Path, kind: Any, zero: Any, *, raw: bool = True) -> Path:
    """A Conv whose weights are `kind`, behind a rounding with the zero point `zero`."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    zero = np.asarray(zero)
    element = helper.np_dtype_to_tensor_dtype(zero.dtype)
    constants = [
        onnx.numpy_helper.from_array(np.ones((2, 3, 1, 1), kind), "w"),
        onnx.numpy_helper.from_array(np.float32(0.1), "scale"),
        onnx.numpy_helper.from_array(zero, "zero")
        if raw
        else helper.make_tensor("zero", element, zero.shape, zero.reshape(-1).tolist()),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, 1, [1, 3, 2, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    onnx.save_model(helper.make_model(graph), str(path))
    return path


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("zero", "refused"),
    [(np.int8(0), False), (np.int8(-3), True), (np.uint8(0), True), (np.uint8(128), True)],
)
def test_zero_points_that_tensorrt_refuses(tmp_path: Path, zero: Any, refused: bool, raw: bool) -> None:
    """UINT8 as well, whatever the number: its parser has no such type between layers."""
    path = saved(tmp_path / "m.onnx", np.float32, zero, raw=raw)
    assert bool(read_onnx_tensors(path).zero_points) == refused
    assert bool(providers.unfit_file(Provider("Tensorrt"), path)) == refused
    assert providers.unfit_file(Provider("CUDA"), path) is None


def test_channels_zero_points_are_read_to_the_last(tmp_path: Path) -> None:
    assert read_onnx_tensors(saved(tmp_path / "m.onnx", np.float32, np.array([0, 0, 1], np.int8))).zero_points


@pytest.mark.parametrize(("kind", "half"), [(np.float16, True), (np.float32, False)])
def test_the_weights_of_matrix_layers(tmp_path: Path, kind: Any, half: bool) -> None:
    assert read_onnx_tensors(saved(tmp_path / "m.onnx", kind, np.int8(0))).half == half


def test_tensorrt_is_not_asked_for_what_it_refuses(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any engine is built: of a bundle the artifact is left out and named; alone it is the error."""
    offer = providers.offered_providers()
    monkeypatch.setattr(providers, "offered_providers", lambda **_: offer._replace(names=["Tensorrt", "CPU"]))

    def never(self: OnnxRuntime, profile: str | None = None) -> None:
        raise AssertionError("an engine is being built")

    monkeypatch.setattr(onnxruntime_.OnnxRuntime, "_open", never)
    bundle = read_bundle(bundle_root)
    kept, skipped = devices.runnable_artifacts(bundle.artifacts, "TensorRT")
    assert [artifact.id for artifact in kept] == ["onnx-fp32"]
    reasons = {entry["artifact"]: entry["reason"] for entry in skipped}
    assert "zero points of 0 alone" in reasons["onnx-int8"]
    assert reasons["onnx-int8"].endswith("or choose another artifact.")
    assert "OpenVINO" in reasons["openvino-int8"]
    int8 = bundle.artifact("onnx-int8")
    for refused in (
        lambda: devices.runnable_artifacts([int8, replace(int8)], "trt"),
        lambda: OnnxRuntime(int8.path, device="trt", threads=1),
    ):
        with pytest.raises(BadInput, match=r"^--device trt: model\.int8\.onnx: .*--device-profile tensorrt"):
            refused()
