"""Ranges of what a ReLU or Clip replaces are not taken, and nothing that needs one goes without."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.int8 import qdq, ranges

CONTRACT = Preprocess(resize="shorter", resize_size=(32, 32), crop=(32, 32))


def prepared(model: torch.nn.Module, folder: Path) -> Path:
    to_onnx(model.eval(), folder / "fp32.onnx", CONTRACT, list("abc"))
    qdq.prepare_graph(folder / "fp32.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


# SqueezeNet has a ReLU behind its last convolution, which stays: there nothing is absorbed.
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_without_them_a_graph_is_quantized_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = prepared(torchvision.models.get_model(name, weights=None, num_classes=3), tmp_path)
    graph = onnx.load(str(path))
    names = ranges._activations(graph, symmetric=True)
    every = {each: (-1.0 - i / 100, 2.0 + i / 50) for i, each in enumerate(names)}
    gone = ranges.absorbed(graph.graph)
    assert len(gone) > 10
    assert gone == every.keys() - set(ranges._activations(graph))
    fewer = {each: ends for each, ends in every.items() if each not in gone}
    layers = [node.name for node in graph.graph.node if node.op_type == "Conv"][3:9:2]
    for fused, matrix_only, excluded in itertools.product((False, True), (False, True), ((), layers)):
        options = qdq.QdqOptions(qdq.SIGNED, excluded, matrix_only, fused)
        qdq.quantize(path, tmp_path / "every.onnx", every, options)
        qdq.quantize(path, tmp_path / "fewer.onnx", fewer, options)
        assert (tmp_path / "every.onnx").read_bytes() == (tmp_path / "fewer.onnx").read_bytes()
    # Beside symmetric activations a ReLU stays, and what it reads is quantized.
    with pytest.raises(EdgeTLError, match="no range is known of"):
        qdq.quantize(path, tmp_path / "fewer.onnx", fewer, qdq.QdqOptions(qdq.SIGNED, symmetric=True))


def test_a_class_token_needs_no_histogram(tmp_path: Path) -> None:
    """It depends on no image, and its range in one black image is its range."""
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
    )
    path = prepared(model, tmp_path)
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    found = {name: seen.range("min-max") for name, seen in ranges.histograms(str(path), images).items()}
    qdq.quantize(path, tmp_path / "int8.onnx", found, qdq.QdqOptions(qdq.SIGNED))
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node)
