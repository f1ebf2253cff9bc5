"""INT8 for TensorRT: zero points of 0, and the numbers that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.onnx_tensors import read_onnx_tensors
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.qdq import QdqOptions
from edge_tl.host.int8.ranges import ESTIMATORS, histograms
from edge_tl.host.int8.rungs import variants
from edge_tl.host.int8.settings import NNCF, QDQ, CandidateSettings

LABELS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Convolutions with ReLU, ReLU6 and none, a residual addition, a hard-swish."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.add(x, self.second(nn.functional.relu6(self.first(x))))

    torch.manual_seed(0)
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), Block(), nn.Hardswish(), *pooled).eval()


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).normal(size=(64, 3, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def contract() -> Preprocess:
    return Preprocess("exact", (24, 24), crop=None)


@pytest.fixture(scope="module")
def made(network: nn.Module, images: Any, contract: Preprocess, tmp_path_factory: Any) -> tuple[Path, Path]:
    """The FP32 file, and the INT8 one for TensorRT."""
    folder = tmp_path_factory.mktemp("symmetric")
    fp32, prepared, graph, out = (folder / f"{name}.onnx" for name in ("fp32", "prepared", "graph", "int8"))
    to_onnx(network, fp32, contract, LABELS)
    qdq.prepare_graph(fp32, prepared)
    ranges = {name: seen.range(ESTIMATORS[0]) for name, seen in histograms(str(prepared), images).items()}
    qdq.quantize(prepared, graph, ranges, QdqOptions(qdq.SIGNED, fused=True, symmetric=True))
    qdq.write_artifact(graph, out, qdq.SIGNED, 8, contract, LABELS)
    return fp32, out


def test_every_zero_point_is_0_and_int8(made: tuple[Path, Path]) -> None:
    assert read_onnx_tensors(made[1]).zero_points == []
    graph = onnx.load(made[1]).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    rounding = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [constants[node.input[2]] for node in rounding]
    assert len(zeros) > 8
    assert {str(zero.dtype) for zero in zeros} == {"int8", "int32"}  # biases are int32
    assert not any(zero.any() for zero in zeros)
    weights = [node for node in rounding if node.input[0] in constants and constants[node.input[0]].ndim == 4]
    assert all(constants[node.input[1]].size == constants[node.input[0]].shape[0] for node in weights)


def test_what_a_relu_takes_away_stays_away(made: tuple[Path, Path], images: Any) -> None:
    """A symmetric range lets negative numbers through, so no ReLU may be absorbed by one."""
    operators = [node.op_type for node in onnx.load(made[1]).graph.node]
    assert operators.count("Relu") + operators.count("Clip") == 2
    expected, got = (batched_logits(path, images) for path in made)
    assert np.abs(got - expected).max() < 0.1 * (expected.max() - expected.min())
    assert (got.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_its_ladder_has_no_candidate_with_zero_points() -> None:
    first = CandidateSettings("onnx", QDQ, ESTIMATORS[0], 300, qdq.SIGNED, matrix_only=False, symmetric=True)
    tried = list(variants(first))
    assert len(tried) > 3
    assert all(each.symmetric and each.method != NNCF for each in tried)
    record = first.record(0.0)
    assert (record.device_profile, record.elementwise) == ("tensorrt", "int8")
