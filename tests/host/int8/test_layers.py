"""Costs and kinds of layers, on the graphs of the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.layers import Layers
from edge_tl.host.models import architecture


def layers(name: str, folder: Path, side: int = 64) -> Layers:
    model = architecture.build(name, 3)
    to_onnx(model, folder / "m.onnx", Preprocess(crop=(side, side)), ["a", "b", "c"])
    qdq.prepare_graph(folder / "m.onnx", folder / "p.onnx")
    return Layers(folder / "p.onnx")


def counted(model: nn.Module, side: int) -> int:
    """Multiply-accumulates of one image, by hooks on PyTorch's own layers."""
    total = 0

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    for module in model.modules():
        module.register_forward_hook(hook)
    with torch.inference_mode():
        model(torch.zeros(1, 3, side, side))
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gates"), [("mobilenet_v3_small", 9), ("efficientnet_b0", 16), ("resnet18", 0)]
)
def test_costs_are_pytorchs_and_gates_are_found(name: str, gates: int, tmp_path: Path):
    found = layers(name, tmp_path)
    assert sum(found.macs.values()) == counted(architecture.build(name, 3), 64)
    inside = found.gates()
    kinds = [node.op_type for node in found.graph.node if node.name in inside]
    assert kinds.count("Conv") == 2 * gates
    assert kinds.count("Mul") >= gates
    assert found.share(inside) < 0.2
    assert found.share(found.macs) == 1.0
    assert found.share([]) == 0.0
    matrix = list(found.macs)
    assert found.ends() == {matrix[0], matrix[-1]}
