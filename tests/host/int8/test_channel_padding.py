"""Channels of zeros: which sizes come out, and that no code changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_tl.host.int8 import qdq
from edge_tl.host.int8.channel_padding import pad_channels

WIDE, OUT = 24, 8


def floats(path: Path) -> None:
    """An inverted residual with a gate, on images of three channels: 3 -> 8 -> 24, depthwise, gated, -> 8, added."""
    draw = np.random.default_rng(0)
    constants = {
        name: draw.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in {
            "first": (OUT, 3, 3, 3),
            "expand": (WIDE, OUT, 1, 1),
            "expand_bias": (WIDE,),
            "depthwise": (WIDE, 1, 3, 3),
            "squeeze": (4, WIDE, 1, 1),
            "excite": (WIDE, 4, 1, 1),
            "project": (OUT, WIDE, 1, 1),
            "project_bias": (OUT,),
            "head": (OUT, 5),
        }.items()
    }
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Conv", ["a", "expand", "expand_bias"], ["b"], "expand"),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", ["c", "depthwise"], ["d"], "depthwise", pads=[1] * 4, group=WIDE),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Conv", ["e", "squeeze"], ["f"], "squeeze"),
        helper.make_node("Conv", ["f", "excite"], ["g"], "excite"),
        helper.make_node("Sigmoid", ["g"], ["h"], "gate"),
        helper.make_node("Mul", ["d", "h"], ["i"], "gated"),
        helper.make_node("Conv", ["i", "project", "project_bias"], ["j"], "project"),
        helper.make_node("Add", ["j", "a"], ["k"], "add"),
        helper.make_node("GlobalAveragePool", ["k"], ["l"], "mean"),
        helper.make_node("Flatten", ["l"], ["m"], "flat"),
        helper.make_node("Gemm", ["m", "head"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)


def quantized(folder: Path, excluded: tuple[str, ...] = ()) -> onnx.ModelProto:
    floats(folder / "float.onnx")
    ranges = {name: (-4.0, 4.0) for name in "abcdefgijkl"} | {
        "h": (0.0, 1.0),
        "images": (-2.0, 2.0),
        "m": (-4.0, 4.0),
    }
    qdq.quantize(
        folder / "float.onnx", folder / "q.onnx", ranges, qdq.QdqOptions(qdq.SIGNED, excluded=excluded)
    )
    return onnx.load(folder / "q.onnx")


def kernels(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every convolution's weights, by the node's name."""
    constants = {i.name: i for i in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            name = node.input[1] if node.input[1] in constants else made_by[node.input[1]].input[0]
            found[node.name] = tuple(constants[name].dims)
    return found


def test_what_a_depthwise_convolution_reads_and_gives_comes_in_sixteens(tmp_path: Path):
    model = quantized(tmp_path)
    pad_channels(model)
    onnx.checker.check_model(model, full_check=True)
    assert kernels(model) == {
        "first": (OUT, 4, 3, 3),
        "expand": (32, OUT, 1, 1),
        "depthwise": (32, 1, 3, 3),
        "squeeze": (4, 32, 1, 1),
        "excite": (32, 4, 1, 1),
        "project": (OUT, 32, 1, 1),
    }


def test_no_logit_changes(literally: Callable[..., Any], tmp_path: Path):
    model = quantized(tmp_path)
    images = np.random.default_rng(1).uniform(-2, 2, (3, 3, 12, 12)).astype(np.float32)
    before = literally(tmp_path / "q.onnx", images)
    fused = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
    pad_channels(model)
    onnx.save(model, tmp_path / "padded.onnx")
    assert len(np.unique(before)) == before.size
    np.testing.assert_array_equal(literally(tmp_path / "padded.onnx", images), before)
    padded = onnxruntime.InferenceSession(tmp_path / "padded.onnx", providers=["CPUExecutionProvider"])
    name = {"images": images}
    # Whose kernels sum integers, in whatever order, and round once.
    np.testing.assert_allclose(padded.run(None, name)[0], fused.run(None, name)[0], atol=0.15)


def test_a_layer_in_float_keeps_its_channels_and_its_neighbours(tmp_path: Path):
    model = quantized(tmp_path, excluded=("expand",))
    pad_channels(model)
    onnx.checker.check_model(model, full_check=True)
    assert kernels(model)["depthwise"] == (WIDE, 1, 3, 3)
    assert kernels(model)["first"] == (OUT, 4, 3, 3)


def test_a_float_graph_is_left_alone(tmp_path: Path):
    floats(tmp_path / "float.onnx")
    model = onnx.load(tmp_path / "float.onnx")
    before = model.SerializeToString()
    pad_channels(model)
    assert model.SerializeToString() == before
