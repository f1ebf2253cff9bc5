"""The noise of each layer, against ONNX Runtime's own measure of the same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_tl.host.int8.layer_errors import MOST_DB, layer_errors

SHAPE = [1, 3, 12, 12]


def network(path: Path, *, padded: bool = False) -> Path:
    """Two convolutions, the first with a ReLU, a mean and a product."""
    generator = np.random.default_rng(0)
    wide = 9 if padded else 8
    arrays = {
        "first.weight": generator.normal(size=(wide, 3, 3, 3)),
        "second.weight": generator.normal(size=(4, wide, 3, 3)),
        "head.weight": generator.normal(size=(5, 4)),
    }
    nodes = [
        helper.make_node("Conv", ["images", "first.weight"], ["a"], "conv_1"),
        helper.make_node("Relu", ["a"], ["b"], "relu_1"),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], "conv_2"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("Gemm", ["e", "head.weight"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save_model(model, str(path))
    return path


class _Images:
    def __init__(self, inputs: np.ndarray) -> None:
        self._rest = iter([{"images": image[None]} for image in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, *SHAPE[1:])).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path, inputs: np.ndarray) -> tuple[Path, Path]:
    from onnxruntime.quantization import QuantFormat, quantize_static

    whole, rounded = network(tmp_path / "whole.onnx"), tmp_path / "rounded.onnx"
    quantize_static(str(whole), str(rounded), _Images(inputs), quant_format=QuantFormat.QDQ)
    return whole, rounded


def tensors(path: Path, names: list[str], inputs: np.ndarray) -> list[np.ndarray]:
    model = onnx.load(str(path))
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(names, {"images": image[None]}) for image in inputs]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def test_the_ratio_is_onnx_runtimes_of_what_the_next_layer_reads(
    files: tuple[Path, Path], inputs: np.ndarray
) -> None:
    from onnxruntime.quantization.qdq_loss_debug import compute_signal_to_quantization_noice_ratio

    found = layer_errors(*files, inputs)
    assert [each.layer for each in found] == ["first", "second", "head"]
    nodes = {node.name: node for node in onnx.load(str(files[1])).graph.node}
    # What pool and product read in the rounded file, whatever the quantizer called it.
    expected = tensors(files[0], ["c", "logits"], inputs)
    own = tensors(files[1], [nodes["pool"].input[0], "logits"], inputs)
    for each, a, b in zip(found[1:], expected, own, strict=True):
        wanted = compute_signal_to_quantization_noice_ratio(a, b)
        assert each.sqnr_db == pytest.approx(wanted, abs=0.02)
    relu = tensors(files[0], ["b"], inputs)
    read = tensors(files[1], [nodes["conv_2"].input[0]], inputs)
    assert found[0].sqnr_db == pytest.approx(compute_signal_to_quantization_noice_ratio(relu, read), abs=0.5)
    assert 15 < found[0].sqnr_db < 60


def test_the_same_file_twice_has_no_noise(files: tuple[Path, Path], inputs: np.ndarray) -> None:
    assert {each.sqnr_db for each in layer_errors(files[0], files[0], inputs)} == {MOST_DB}


def test_layers_of_other_shapes_and_names_are_left_out(tmp_path: Path, inputs: np.ndarray) -> None:
    """Channels that were added so that kernels fit."""
    whole, other = network(tmp_path / "a.onnx"), network(tmp_path / "b.onnx", padded=True)
    assert [each.layer for each in layer_errors(whole, other, inputs)] == ["second", "head"]
    model = onnx.load(str(other))
    for node in model.graph.node:
        node.name = f"other_{node.name}"
    onnx.save_model(model, str(other))
    assert layer_errors(whole, other, inputs) == []
