"""Equalized graphs compute what they computed, with channels of like ranges between their layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.numpy_helper import to_array
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.int8.equalize import equalize, smooth


class Net(nn.Module):
    """Linear, through a ReLU, depthwise, and pairs that must be left alone: a fork and a hard-swish."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.d, self.e, self.f = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.d(self.c(torch.relu(self.b(self.a(x)))))
        y: torch.Tensor = self.f(nn.functional.hardswish(self.e(x)) + x).mean((2, 3))
        return y


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.a.weight[0] *= 500
        assert net.a.bias is not None
        net.a.bias[0] *= 500
        net.b.weight[:, 0] /= 500
    to_onnx(net, tmp_path / "m.onnx", Preprocess(crop=(32, 32)), ["a", "b"])
    return tmp_path / "m.onnx"


def run(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    result: np.ndarray = session.run(None, {"images": images})[0]
    return result


def spread(path: Path) -> float:
    """Largest channel of the first layer by its smallest."""
    model = onnx.load(path)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(to_array(i) for i in model.graph.initializer if i.name == first.input[1])
    channels = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return float(channels.max() / channels.min())


def test_the_function_stays_and_the_channels_become_alike(graph: Path, tmp_path: Path):
    assert equalize(graph, tmp_path / "e.onnx") == 3  # a-b, b-c through the ReLU, c-d
    np.testing.assert_allclose(run(tmp_path / "e.onnx"), run(graph), rtol=1e-3, atol=1e-4)
    assert spread(graph) > 400
    assert spread(tmp_path / "e.onnx") < 10


def test_a_channel_that_is_zero_stays_zero(graph: Path, tmp_path: Path):
    model = onnx.load(graph)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(i for i in model.graph.initializer if i.name == first.input[1])
    values = to_array(weight).copy()
    values[3] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, graph)
    equalize(graph, tmp_path / "e.onnx")
    assert np.isfinite(run(tmp_path / "e.onnx")).all()
    np.testing.assert_allclose(run(tmp_path / "e.onnx"), run(graph), rtol=1e-3, atol=1e-4)


def test_smoothing_keeps_the_function_and_narrows_what_the_activations_spread(graph: Path, tmp_path: Path):
    images = np.random.default_rng(1).normal(size=(4, 3, 32, 32)).astype(np.float32)
    assert smooth(graph, tmp_path / "s.onnx", images) == 3
    np.testing.assert_allclose(run(tmp_path / "s.onnx"), run(graph), rtol=1e-3, atol=1e-4)
    before, after = (channel_spread(path, images) for path in (graph, tmp_path / "s.onnx"))
    assert before > 100
    assert after < before / 10


def channel_spread(path: Path, images: np.ndarray) -> float:
    """Of the first layer's output: its largest channel by its smallest."""
    model = onnx.load(path)
    name = next(node for node in model.graph.node if node.op_type == "Conv").output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = np.abs(session.run([name], {"images": images})[0]).max(axis=(0, 2, 3))
    return float(largest.max() / largest.min())
