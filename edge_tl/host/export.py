"""A PyTorch classifier to ONNX and OpenVINO IR in FP32, labels and preprocessing inside; it must not quantize.

The files take any batch size and ask for the oldest runtime that can run them.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import torch
from torch import nn

from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import EdgeTLError
from edge_tl.target.runtime import open_runtime

INPUT, OUTPUT = "images", "logits"

# The first ONNX Runtime that reads an opset, and the IR version of that ONNX release
# (onnx, docs/Versioning.md; onnxruntime, docs/Versioning.md).
_FLOORS = {
    13: (7, "1.7"),
    14: (7, "1.8"),
    15: (8, "1.10"),
    16: (8, "1.11"),
    17: (8, "1.12"),
    18: (8, "1.14"),
}
_EXPORTED_OPSET = 18  # the lowest that the dynamo exporter writes


def to_onnx(model: nn.Module, path: Path, contract: Preprocess, labels: list[str]) -> dict[str, Any]:
    """Write one self-contained file with a dynamic batch. Returns `{opset, ir_version, runtime_floor}`.

    Every opset from 13 (the first with per-channel quantization) up is tried; the first whose file checks and
    gives the model's logits is kept. Raises `EdgeTLError` when none does.
    """
    height, width = contract.input_size
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.inference_mode():
        expected = model(example).numpy()
    graph = _exported(model, example)
    _pool_globally(graph)
    faults = {}
    for opset, (ir_version, floor) in _FLOORS.items():
        try:
            candidate = (
                graph if opset == _EXPORTED_OPSET else onnx.version_converter.convert_version(graph, opset)
            )
            candidate.ir_version = ir_version
            add_metadata(candidate, contract, labels)
            onnx.checker.check_model(candidate, full_check=True)
            onnx.save_model(candidate, str(path))
            difference = float(np.abs(open_runtime(path)(example.numpy()) - expected).max())
        except Exception as error:  # the converter raises bare RuntimeErrors for operators it cannot lower
            faults[opset] = next(iter(str(error).splitlines()), type(error).__name__)
            continue
        if difference <= 1e-3 * max(1.0, float(np.abs(expected).max())):
            return {"opset": opset, "ir_version": ir_version, "runtime_floor": f"onnxruntime>={floor}"}
        faults[opset] = f"logits differ by {difference:.3g}"
    raise EdgeTLError(f"ONNX export: no opset works: {faults}. Report this with the model's name.")


def to_openvino(onnx_path: Path, xml_path: Path, contract: Preprocess, labels: list[str]) -> None:
    """Convert to IR (`.xml` and `.bin`), weights kept in float32."""
    import openvino

    model = openvino.convert_model(str(onnx_path))
    save_openvino(model, xml_path, contract, labels)


def save_openvino(model: Any, xml_path: Path, contract: Preprocess, labels: list[str]) -> None:
    """Write an OpenVINO model with the metadata in its `rt_info`."""
    import openvino

    for key, value in model_info(contract, labels).items():
        model.set_rt_info(value, ["model_info", key])
    openvino.save_model(model, str(xml_path), compress_to_fp16=False)


def model_info(contract: Preprocess, labels: list[str]) -> dict[str, str]:
    """Labels and preprocessing under the keys of Intel's Model API; `edge_tl` holds the contract exactly, where
    those keys cannot say it (a resize to one size, then a crop to a smaller one)."""
    return {
        "model_type": "Classification",
        "labels": " ".join("_".join(label.split()) or "_" for label in labels),
        "mean_values": " ".join(f"{255 * value:.10g}" for value in contract.mean),
        "scale_values": " ".join(f"{255 * value:.10g}" for value in contract.std),
        "reverse_input_channels": "True",  # Model API hands over OpenCV's BGR
        "resize_type": "standard" if contract.resize == "exact" else "crop",
        "multilabel": "False",
        "output_raw_scores": "True",
        "edge_tl": json.dumps({"labels": labels, "preprocess": contract.to_json()}, ensure_ascii=False),
    }


def add_metadata(graph: onnx.ModelProto, contract: Preprocess, labels: list[str]) -> None:
    """The same facts as ONNX metadata, under the names that Model API's ONNX adapter reads."""
    graph.producer_name = "edge-tl"
    info = model_info(contract, labels)
    onnx.helper.set_model_props(graph, {f"model_info {key}": value for key, value in info.items()})


def _exported(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    talkative = logging.getLogger("torch.onnx")
    level = talkative.level
    talkative.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=_EXPORTED_OPSET,
                verbose=False,
            )
    finally:
        talkative.setLevel(level)
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    for node in graph.graph.node:  # the exporter notes source files of the machine it ran on
        del node.metadata_props[:]
    del graph.graph.metadata_props[:]
    return graph


def _pool_globally(graph: onnx.ModelProto) -> None:
    """Write the mean over height and width as GlobalAveragePool: the same arithmetic, in every opset, and the
    quantizers know it."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in graph.graph.value_info}
    for node in graph.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        axes = sorted(int(axis) % 4 for axis in constants[node.input[1]].ravel())
        if keep and axes == [2, 3] and ranks.get(node.input[0], 4) == 4:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            del node.input[1:]
    used = {name for node in graph.graph.node for name in node.input}
    kept = [i for i in graph.graph.initializer if i.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
