"""FP32 and INT8 files of torchvision models with seeded random weights, for what depends on the architecture alone.
No command of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import to_onnx, to_openvino
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import ESTIMATORS, histograms

CLASSES, IMAGES = 1000, 16


def files(model: str, folder: Path) -> dict[str, Path]:
    """By artifact id, made in `folder`, where those of before are taken as they are: the ladder's first candidate of
    each runtime, calibrated on seeded noise that the BatchNorm statistics come from too, so that no layer is silent or
    saturates."""
    found = {
        "onnx-fp32": folder / "fp32.onnx",
        "openvino-fp32": folder / "fp32.xml",
        "onnx-int8": folder / "int8.onnx",
        "openvino-int8": folder / "int8.xml",
    }
    if all(path.is_file() for path in found.values()):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 3, 224, 224, generator=draw)
    torch.manual_seed(0)
    network = torchvision.models.get_model(model, weights=None, num_classes=CLASSES)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
        elif isinstance(layer, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            layer.p = 0.0
    with torch.no_grad():
        network.train()(images)
    contract, labels = Preprocess(), [str(i) for i in range(CLASSES)]
    versions = to_onnx(network.eval(), found["onnx-fp32"], contract, labels)
    to_openvino(found["onnx-fp32"], found["openvino-fp32"], contract, labels)
    prepared, graph = folder / "prepared.onnx", folder / "graph.onnx"
    qdq.prepare_graph(found["onnx-fp32"], prepared)
    seen = histograms(str(prepared), np.asarray(images[:8]))
    ranges = {name: each.range(ESTIMATORS[0]) for name, each in seen.items()}
    for name in ("onnx-int8", "openvino-int8"):
        fused = name == "openvino-int8"
        qdq.quantize(prepared, graph, ranges, qdq.QdqOptions(qdq.SIGNED, matrix_only=fused, fused=fused))
        qdq.write_artifact(graph, found[name], qdq.SIGNED, versions.ir_version, contract, labels)
    return found
