"""Which layers multiply matrices, by ONNX's names and in OpenVINO's executed graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.machine import openvino_core
from edge_tl.device.runtimes.matrix_layers import (
    PIXEL_NODES,
    executed_matrix_layers,
    is_matrix_operator,
    is_of_preprocessing,
)
from edge_tl.device.runtimes.open import open_runtime


@pytest.mark.parametrize(
    "name", ["Conv", "FusedConv", "QLinearConv", "Gemm", "QGemm", "FusedMatMul", "MatMulInteger"]
)
def test_fused_and_integer_operators_are_matrix_operators(name: str) -> None:
    assert is_matrix_operator(name)


@pytest.mark.parametrize("name", ["Relu", "QuantizeLinear", "MaxPool", "Mul"])
def test_others_are_not(name: str) -> None:
    assert not is_matrix_operator(name)


def test_openvinos_executed_layers_have_a_kernel_and_a_precision(assets: Path) -> None:
    pytest.importorskip("openvino")
    compiled = openvino_core().compile_model(
        openvino_core().read_model(assets / "tiny.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    layers = executed_matrix_layers(compiled)
    assert len(layers) == 2
    assert {layer.precision for layer in layers} == {"f32"}
    assert all(layer.kernel for layer in layers)


def test_a_device_that_does_not_show_its_graph_has_no_layers() -> None:
    class Hidden:
        def get_runtime_model(self) -> None:
            raise RuntimeError("not supported")

    assert executed_matrix_layers(Hidden()) == []


def test_layers_that_a_file_calls_preprocessing_are_layers(assets: Path, tmp_path: Path) -> None:
    """A model whose layers are all named so hid which device and which precision ran them."""
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    graph = onnx.load(assets / "tiny.int8.onnx")
    for place, node in enumerate(graph.graph.node):
        node.name = f"{PIXEL_NODES}{place}"
    onnx.save(graph, tmp_path / "named.onnx")
    assert open_runtime(tmp_path / "named.onnx").precision == "int8"
    model = openvino_core().read_model(assets / "tiny.xml")
    for node in model.get_ordered_ops():
        node.set_friendly_name(f"{PIXEL_NODES}{node.get_friendly_name()}")
    openvino.save_model(model, tmp_path / "named.xml", compress_to_fp16=False)
    compiled = openvino_core().compile_model(openvino_core().read_model(tmp_path / "named.xml"), "CPU")
    assert len(executed_matrix_layers(compiled)) == 2


@pytest.mark.parametrize(
    ("operator", "takes_pixels", "found"),
    [
        ("MatMulInteger", True, True),
        ("FullyConnected", True, True),
        ("QLinearConv", True, False),
        ("Convolution", True, False),
        ("MatMul", False, False),
    ],
)
def test_only_products_of_matrices_preprocess(operator: str, takes_pixels: bool, found: bool) -> None:
    assert is_of_preprocessing(f"{PIXEL_NODES}rows", operator, takes_pixels=takes_pixels) is found
    assert not is_of_preprocessing("rows", operator, takes_pixels=takes_pixels)
