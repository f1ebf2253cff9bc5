"""Activations on codes: the numbers of the Q/DQ graph they stand for, for every code there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_tl.host.int8.integer_graph import fitting_ranges, swish_products, use_codes

ALPHA, CHANNELS = 1 / 6, 8


def model(nodes: list[Any], constants: dict[str, Any], shape: list[Any], output: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def pair(source: str, name: str) -> list[Any]:
    """A QuantizeLinear and a DequantizeLinear after `source`; its constants are `name`_scale and `name`_zero."""
    how = [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [source, *how], [f"{name}_codes"]),
        helper.make_node("DequantizeLinear", [f"{name}_codes", *how], [name]),
    ]


def hard_swish(scale: float, zero: int, step: float, shift: int) -> onnx.ModelProto:
    nodes = [
        *pair("images", "x"),
        helper.make_node("HardSigmoid", ["x"], ["h"], alpha=ALPHA, beta=0.5),
        helper.make_node("Mul", ["x", "h"], ["y"], "product"),
        *pair("y", "answer"),
    ]
    constants = {"x_scale": np.float32(scale), "x_zero": np.uint8(zero)}
    constants |= {"answer_scale": np.float32(step), "answer_zero": np.uint8(shift)}
    return model(nodes, constants, ["n", 1], "answer")


def codes(path: Path, answers: Any) -> Any:
    constants = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    return np.rint(answers / constants["answer_scale"]).astype(int)


@pytest.mark.parametrize("high", [0.4, 3.0, 4.2, 10.7, 37.0])
def test_a_hard_swish_on_codes_gives_the_codes_of_the_graph(
    high: float, literally: Callable[..., Any], tmp_path: Path
):
    low, top = fitting_ranges(hard_swish(1.0, 0, 1.0, 0).graph, {"x": (-20.0, high)})["x"]
    assert low == -3
    assert top >= high or top > 3
    scale = (top - low) / 255
    whole = hard_swish(scale, round(-low / scale), (top + 0.375) / 255, round(0.375 * 255 / (top + 0.375)))
    every = (np.arange(256, dtype=np.float32)[:, None] * scale + low).astype(np.float32)
    onnx.save(whole, tmp_path / "before.onnx")
    use_codes(whole)
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, tmp_path / "after.onnx")
    before = codes(tmp_path / "before.onnx", literally(tmp_path / "before.onnx", every))
    np.testing.assert_array_equal(
        codes(tmp_path / "after.onnx", literally(tmp_path / "after.onnx", every)), before
    )
    fused = onnxruntime.InferenceSession(tmp_path / "after.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(
        codes(tmp_path / "after.onnx", fused.run(None, {"images": every})[0]), before
    )
    assert "HardSigmoid" not in {node.op_type for node in whole.graph.node}


def test_what_something_else_reads_too_keeps_its_range(literally: Callable[..., Any], tmp_path: Path):
    whole = hard_swish(20 / 255, 128, 0.05, 10)
    nodes = whole.graph.node
    [answer] = whole.graph.output
    nodes.append(helper.make_node("Neg", ["x"], ["also"]))
    nodes.append(helper.make_node("Add", ["answer", "also"], ["both"]))
    answer.name = "both"
    ranges = {"x": (-10.0, 10.0)}
    assert fitting_ranges(whole.graph, ranges)["x"] == ranges["x"]
    onnx.save(whole, tmp_path / "before.onnx")
    use_codes(whole)
    onnx.save(whole, tmp_path / "after.onnx")
    x = np.linspace(-9, 9, 37, dtype=np.float32)[:, None]  # below -3 a hard-swish is 0, and the sum is not
    before, after = (literally(tmp_path / f"{name}.onnx", x) for name in ("before", "after"))
    np.testing.assert_array_equal(after, before)


def test_onnx_runtime_multiplies_the_codes(tmp_path: Path):
    whole = hard_swish(3 / 60, 60, 0.04, 9)
    use_codes(whole)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ran = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert sorted(ran) == ["Clip", "DequantizeLinear", "QLinearMul", "QuantizeLinear"]


@pytest.mark.parametrize(("scale", "zero"), [(0.0513, 55), (0.0207, 44), (0.09, 120)])
def test_a_range_that_training_moved_is_rounded_to_the_nearest_that_fits(
    scale: float, zero: int, literally: Callable[..., Any], tmp_path: Path
):
    whole = hard_swish(scale, zero, 0.02, 20)
    use_codes(whole)
    onnx.save(whole, tmp_path / "after.onnx")
    x = np.linspace(-2 * scale * zero, 4.5, 997, dtype=np.float32)[:, None]
    x = np.clip(x, -scale * zero, scale * (255 - zero))
    exact = x * np.clip(x / 6 + 0.5, 0, 1)
    within = 1.5 * (4.5 + 3) / 255 / 2 + 0.02 / 2  # half a step of x at the steepest, half a step of y
    kept = exact < 0.02 * 235
    step = numpy_helper.to_array(next(i for i in whole.graph.initializer if i.name.endswith("x_scale")))
    assert np.abs(literally(tmp_path / "after.onnx", x) - exact)[kept].max() <= max(
        within, 0.75 * step + 0.011
    )


def gate(*, bias: bool) -> onnx.ModelProto:
    """A quantized 1 x 1 convolution, its hard-sigmoid, and what that multiplies."""
    draw = np.random.default_rng(0)
    nodes = [
        *pair("images", "x"),
        helper.make_node("DequantizeLinear", ["codes", "steps", "zeros"], ["weight"], axis=0),
        helper.make_node("Conv", ["x", "weight", *(["bias"] if bias else [])], ["z"]),
        *pair("z", "rounded"),
        helper.make_node("HardSigmoid", ["rounded"], ["h"], alpha=ALPHA, beta=0.5),
        *pair("h", "gate"),
        helper.make_node("Mul", ["x", "gate"], ["answer"], "product"),
    ]
    steps = draw.uniform(0.005, 0.03, CHANNELS).astype(np.float32)
    constants = {
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(100),
        "codes": draw.integers(-127, 128, (CHANNELS, CHANNELS, 1, 1)).astype(np.int8),
        "steps": steps,
        "zeros": np.zeros(CHANNELS, np.int8),
        "rounded_scale": np.float32(0.1),
        "rounded_zero": np.uint8(128),
        "gate_scale": np.float32(1 / 255),
        "gate_zero": np.uint8(0),
    }
    if bias:
        at = helper.make_node("DequantizeLinear", ["bias_codes", "bias_scale", "bias_zero"], ["bias"], axis=0)
        nodes.insert(3, at)
        constants |= {
            "bias_codes": draw.integers(-3000, 3000, CHANNELS).astype(np.int32),
            "bias_scale": (np.float32(0.02) * steps).astype(np.float32),
            "bias_zero": np.zeros(CHANNELS, np.int32),
        }
    return model(nodes, constants, ["n", CHANNELS, 1, 1], "answer")


@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_is_the_convolutions_own_rounding(bias: bool, literally: Callable[..., Any], tmp_path: Path):
    whole = gate(bias=bias)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    whole.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", CHANNELS, 1, 1]))
    onnx.save(whole, before)
    images = np.random.default_rng(1).uniform(-2, 3, (400, CHANNELS, 1, 1)).astype(np.float32)
    exact = np.clip(literally(before, images, ["z"])[0] / 6 + 0.5, 0, 1)
    del whole.graph.output[1]
    use_codes(whole)
    whole.graph.output.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["n", CHANNELS, 1, 1]))
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, after)
    gates = literally(after, images, ["gate"])[0]
    assert 0.2 < np.mean((exact > 0) & (exact < 1)) < 0.9  # both ends are cut
    assert np.abs(gates - exact).max() <= 0.5 / 255 + 1e-4  # one rounding, and that of the bias
    fused = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
    assert np.abs(fused.run(["gate"], {"images": images})[0] - gates).max() <= 1.001 / 255
    assert "HardSigmoid" not in {node.op_type for node in whole.graph.node}


def test_a_channel_whose_bias_would_not_fit_leaves_the_gate_as_it_is():
    whole = gate(bias=True)
    steps = next(i for i in whole.graph.initializer if i.name == "bias_scale")
    steps.CopyFrom(numpy_helper.from_array(np.full(CHANNELS, 1e-12, np.float32), "bias_scale"))
    before = whole.SerializeToString()
    use_codes(whole)
    assert [n.op_type for n in whole.graph.node] == [
        n.op_type for n in onnx.ModelProto.FromString(before).graph.node
    ]


def test_another_slope_is_no_hard_swish():
    whole = hard_swish(0.05, 60, 0.04, 9)
    whole.graph.node[2].attribute[0].f = 0.2
    before = whole.SerializeToString()
    use_codes(whole)
    assert whole.SerializeToString() == before
    assert fitting_ranges(whole.graph, {"x": (-1.0, 2.0)}) == {"x": (-1.0, 2.0)}
    assert swish_products(whole.graph, ("HardSigmoid",)) == {"x": "product"}
