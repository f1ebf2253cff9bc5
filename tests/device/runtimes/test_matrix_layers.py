"""Which layers multiply matrices, by ONNX's names and in OpenVINO's executed graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.machine import openvino_core
from edge_tl.device.runtimes.matrix_layers import executed_matrix_layers, is_matrix_operator


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
