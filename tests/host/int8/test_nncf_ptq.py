"""NNCF's Q/DQ graph for ONNX Runtime: what is rewritten computes what NNCF wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_tl.device.bundle import read_bundle
from edge_tl.host.int8 import nncf_ptq, qdq

Arrays = dict[str, Any]


def test_the_graph_is_nncfs_with_integer_weights_and_without_what_ranges_do(
    bundle: Path,
    calibration: Any,
    literally: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    prepared = tmp_path / "prepared.onnx"
    qdq.prepare_graph(read_bundle(bundle).artifact("onnx-fp32").path, prepared)
    nncf_ptq.quantize_onnx(prepared, tmp_path / "ours.onnx", calibration, qdq.SIGNED)
    monkeypatch.setattr(nncf_ptq, "_absorb", lambda graph: None)
    nncf_ptq.quantize_onnx(prepared, tmp_path / "folded.onnx", calibration, qdq.SIGNED)
    monkeypatch.setattr(nncf_ptq, "_fold_weights", lambda graph: None)
    nncf_ptq.quantize_onnx(prepared, tmp_path / "theirs.onnx", calibration, qdq.SIGNED)
    ours, folded, theirs = (
        literally(tmp_path / f"{n}.onnx", calibration) for n in ("ours", "folded", "theirs")
    )
    np.testing.assert_array_equal(folded, theirs)
    assert np.array_equal(ours.argmax(1), theirs.argmax(1))
    assert np.abs(ours - theirs).max() < 0.05 * theirs.std()

    whole = read_bundle(bundle)
    for storage in (qdq.SIGNED, qdq.UNSIGNED):
        artifact = tmp_path / f"{storage[:4]}.onnx"
        qdq.write_artifact(tmp_path / "ours.onnx", artifact, storage, 8, whole.preprocess, whole.labels)
        np.testing.assert_array_equal(literally(artifact, calibration), ours)

    graph = onnx.load(tmp_path / "ours.onnx").graph
    kinds = [node.op_type for node in graph.node]
    before = [node.op_type for node in onnx.load(tmp_path / "theirs.onnx").graph.node]
    assert kinds.count("Relu") < before.count("Relu")
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) >= 53
    read = [makers[node.input[1]].input[0] for node in layers if node.input[1] in makers]
    assert {constants[name].dtype for name in read} == {np.dtype(np.int8)}
    assert len(read) >= 35, "all but the squeeze-and-excite gates, which NNCF leaves in float"


def cut(scale: float, *, also_read: bool = False) -> onnx.GraphProto:
    """x -> Clip(0, 6) -> UINT8 in steps of `scale` -> y, and perhaps the Clip's output as a result too."""
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"], "clip"),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dequantize"),
    ]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    if also_read:
        nodes.append(helper.make_node("Add", ["c", "low"], ["z"], "add"))
        results.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"]))
    values: Arrays = {
        "low": np.float32(0),
        "high": np.float32(6),
        "scale": np.float32(scale),
        "zero": np.uint8(0),
    }
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    return helper.make_graph(nodes, "cut", given, results, constants)


@pytest.mark.parametrize(
    ("steps", "also_read", "stays"),
    [(6 / 255, False, False), (5.5 / 255, False, False), (8 / 255, False, True), (6 / 255, True, True)],
)
def test_a_clip_goes_where_the_range_after_it_does_the_same(
    steps: float, also_read: bool, stays: bool, tmp_path: Path
):
    graph = cut(steps, also_read=also_read)
    x = np.linspace(-3, 9, 1001, dtype=np.float32)

    def run(name: str) -> Any:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save_model(model, str(tmp_path / name))
        session = onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        return session.run(["y"], {"x": x})[0]

    before = run("before.onnx")
    nncf_ptq._absorb(graph)
    assert ("Clip" in [node.op_type for node in graph.node]) == stays
    np.testing.assert_array_equal(run("after.onnx"), before)


@pytest.mark.parametrize(("scale", "stays"), [(6 / 255, False), (8 / 255, True)])
def test_a_clip_with_one_end_cuts_there_alone(scale: float, stays: bool):
    graph = cut(scale)
    graph.node[0].input[1] = ""
    nncf_ptq._absorb(graph)
    assert ("Clip" in [node.op_type for node in graph.node]) == stays
