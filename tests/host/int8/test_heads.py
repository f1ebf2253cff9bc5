"""Whatever gives the logits: they are not rounded, their shift is taken out, and the file can be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import histograms

CLASSES = 5


class Excite(nn.Module):
    """Squeeze-and-excite of linear layers: the last Gemm is not the head."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate: torch.Tensor = self.up(torch.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class Scaled(nn.Module):
    """A temperature after the head, as some classifiers bring one."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x)
        return logits * 4.0


def layers() -> list[nn.Module]:
    return [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()]


def pooled() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


HEADS = {
    "linear": lambda: [*pooled(), nn.Linear(8, CLASSES)],
    "without bias": lambda: [*pooled(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES, bias=False)],
    "convolution": lambda: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, CLASSES, 1), nn.Flatten()],
    "convolution, then mean": lambda: [nn.Conv2d(8, CLASSES, 1), *pooled()],
    "behind linear gates": lambda: [
        Excite(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(8, CLASSES, 1),
        nn.Flatten(),
    ],
    "scaled": lambda: [*pooled(), Scaled(nn.Linear(8, CLASSES))],
    "log-probabilities": lambda: [*pooled(), nn.Linear(8, CLASSES), nn.LogSoftmax(1)],
}


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("head", HEADS)
def test_logits_are_float_and_centred_whatever_gives_them(head: str, suffix: str, tmp_path: Path):
    torch.manual_seed(0)
    model, contract, labels = (
        nn.Sequential(*layers(), *HEADS[head]()).eval(),
        Preprocess(crop=(32, 32)),
        [*"abcde"],
    )
    images = np.random.default_rng(0).normal(0, 1, (24, 3, 32, 32)).astype(np.float32)
    to_onnx(model, tmp_path / "m.onnx", contract, labels)
    qdq.prepare_graph(tmp_path / "m.onnx", tmp_path / "p.onnx")
    ranges = {n: h.range("min-max") for n, h in histograms(str(tmp_path / "p.onnx"), images).items()}
    fused = suffix == ".xml"
    storage = qdq.SEVEN_BITS if fused else qdq.UNSIGNED
    graph, out = tmp_path / "q.onnx", tmp_path / f"o{suffix}"
    qdq.quantize(tmp_path / "p.onnx", graph, ranges, qdq.QdqOptions(storage, fused=fused, matrix_only=fused))

    def made() -> np.ndarray:
        qdq.write_artifact(graph, out, storage, 10, contract, labels)
        return batched_logits(out, images)

    want = batched_logits(tmp_path / "m.onnx", images)
    plain = made()
    assert len(np.unique(plain)) > 0.8 * plain.size, "rounded to codes"
    assert onnx.load(graph).graph.output[0].name == onnx.load(tmp_path / "m.onnx").graph.output[0].name
    for _ in range(2):  # training corrects a graph that was corrected before
        qdq.correct_logits(graph, np.mean(want - made(), axis=0, dtype=np.float64))
    left = np.abs(np.mean(want - made(), axis=0)).max()
    assert left <= 0.05 * np.abs(np.mean(want - plain, axis=0)).max() + 1e-6
    assert np.abs(want - made()).max() <= np.abs(want - plain).max() + 1e-6
