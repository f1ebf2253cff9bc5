"""From a PyTorch classifier to ONNX and OpenVINO IR in FP32, labels and preprocessing inside. Quantizes nothing.

The files take any batch size and ask for the oldest runtime that can run them.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.codec import Record
from edge_tl.device.runtimes.base import Logits
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime
from edge_tl.host.convert.graph import attribute, remove_unused_constants

if (
    TYPE_CHECKING
):  # only the export itself needs it: processes that make and run files start without its seconds
    import torch
    from torch import nn

INPUT, OUTPUT = "images", "logits"
_RESIZE_TYPES = {
    "exact": "standard",
    "letterbox": "fit_to_window_letterbox",
}  # Model API's words; "crop" else

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


@dataclass(frozen=True)
class OnnxVersions(Record):
    """Of an ONNX file: its opset, its IR version, and the oldest runtime that reads it, e.g. "onnxruntime>=1.7"."""

    opset: int
    ir_version: int
    runtime_floor: str


@dataclass(frozen=True)
class _Check:
    """What a file is compared with: `logits` `(n, classes)` of the model on `images` `(n, 3, H, W)`."""

    images: NDArray[np.float32]
    logits: Logits

    def difference(self, path: Path) -> float:
        """The largest of any logit."""
        # Quiet: what fails here is no error of the export, which goes on with the next opset.
        runtime = OnnxRuntime(path, threads=cores_allowed(), quiet=True)
        return float(np.abs(runtime(self.images) - self.logits).max())

    @property
    def tolerance(self) -> float:
        """Of the logits."""
        return 1e-3 * max(1.0, float(np.abs(self.logits).max()))


def to_onnx(model: nn.Module, path: Path, contract: Preprocess, labels: list[str]) -> OnnxVersions:
    """Write one self-contained file with a dynamic batch.

    Every opset from 13 (the first with per-channel quantization) up is tried; the first whose file checks and
    gives the model's logits, for another batch size than the one it was traced with, is kept. A graph traced with
    fixed sizes and freed of its batch size comes first, because the exporter takes three times as long over a symbolic
    one; a model that folds its batch into other dimensions needs the latter. Raises `EdgeTLError` when none works.
    """
    import torch

    height, width = contract.input_size
    # Smooth as photographs are: a network trained for minutes multiplied noise up to logits of 1,800, which float32
    # itself gives to within 6, and an exact file was refused.
    coarse = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 4 - 2
    example = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    with torch.inference_mode():
        answer = model(example)
    check = _Check(example.numpy(), answer.float().numpy())
    if answer.dtype != torch.float32:
        model = _single(model)
    faults: dict[str, str] = {}
    for symbolic in (False, True):
        try:
            graph = _exported(model, example[:2], symbolic=symbolic)
        except OSError:
            raise
        except Exception as error:  # the exporter raises its own types for what it cannot write
            faults["tracing" + ", any batch" * symbolic] = _first_line(error)
            continue
        _pool_globally(graph)
        versions = _write_lowest(graph, path, (contract, labels), check, faults)
        if versions:
            return versions
    said = "; ".join(dict.fromkeys(f"{where}: {why}" for where, why in faults.items()))
    raise EdgeTLError(
        f"PyTorch's ONNX exporter cannot write this model as a file that gives its answers ({said}). Rewrite the "
        "operation that is named, or take another architecture."
    )


def _single(model: nn.Module) -> nn.Module:
    """The same answers in float32."""
    from torch import nn

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(images)
            return logits.float()

    return Single()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :200
    ]


def _write_lowest(
    graph: onnx.ModelProto,
    path: Path,
    metadata: tuple[Preprocess, list[str]],
    check: _Check,
    faults: dict[str, str],
) -> OnnxVersions | None:
    """Write `graph` in the lowest opset that works; what fails goes into `faults`."""
    for opset, (ir_version, floor) in _FLOORS.items():
        try:
            candidate = (
                graph if opset == _EXPORTED_OPSET else onnx.version_converter.convert_version(graph, opset)
            )
            candidate.ir_version = ir_version
            add_metadata(candidate, *metadata)
            onnx.checker.check_model(candidate, full_check=True)
            onnx.save_model(candidate, str(path))
            difference = check.difference(path)
        except OSError:  # a full disk, a folder that is gone: no fault of the opset
            raise
        except Exception as error:  # the converter raises bare RuntimeErrors for operators it cannot lower
            faults[f"opset {opset}"] = _first_line(error)
            continue
        if difference <= check.tolerance:
            return OnnxVersions(opset, ir_version, f"onnxruntime>={floor}")
        faults[f"opset {opset}"] = f"logits differ by {difference:.3g}"
    return None


def to_openvino(onnx_path: Path, xml_path: Path, contract: Preprocess, labels: list[str]) -> None:
    """Convert to IR (`.xml` and `.bin`), weights kept in float32."""
    import openvino

    model = openvino.convert_model(str(onnx_path))
    save_openvino(model, xml_path, contract, labels)


def save_openvino(
    model: Any,
    xml_path: Path,
    contract: Preprocess,
    labels: list[str],
    *,
    half: bool = False,
    raw_pixels: bool = False,
) -> None:
    """Write an OpenVINO model with the metadata in its `rt_info`; `half` stores float weights in 16 bits, `raw_pixels`
    is of one that preprocesses itself."""
    import openvino

    model.set_rt_info({}, ["model_info"])
    for key, value in model_info(contract, labels, raw_pixels=raw_pixels).items():
        model.set_rt_info(value, ["model_info", key])
    openvino.save_model(model, str(xml_path), compress_to_fp16=half)


def model_info(contract: Preprocess, labels: list[str], *, raw_pixels: bool = False) -> dict[str, str]:
    """Labels and preprocessing under the keys of Intel's Model API; `edge_tl` holds the contract exactly, where
    those keys cannot say it (a resize to one size, then a crop to a smaller one). With `raw_pixels` Model API hands the
    image over as it is given."""
    outside = {
        "mean_values": " ".join(f"{255 * value:.10g}" for value in contract.mean),
        "scale_values": " ".join(f"{255 * value:.10g}" for value in contract.std),
        "reverse_input_channels": "True",  # Model API hands over OpenCV's BGR
        "resize_type": _RESIZE_TYPES.get(contract.resize, "crop"),
    }
    return {
        "model_type": "Classification",
        "labels": " ".join("_".join(label.split()) or "_" for label in labels),
        **({"embedded_processing": "True"} if raw_pixels else outside),
        "multilabel": "False",
        "output_raw_scores": "True",
        "edge_tl": json.dumps({"labels": labels, "preprocess": contract.to_json()}, ensure_ascii=False),
    }


def add_metadata(
    graph: onnx.ModelProto, contract: Preprocess, labels: list[str], *, raw_pixels: bool = False
) -> None:
    """The same facts as ONNX metadata, under the names that Model API's ONNX adapter reads."""
    graph.producer_name = "edge-tl"
    info = model_info(contract, labels, raw_pixels=raw_pixels)
    onnx.helper.set_model_props(graph, {f"model_info {key}": value for key, value in info.items()})


def _exported(model: nn.Module, example: torch.Tensor, *, symbolic: bool) -> onnx.ModelProto:
    """The graph with a free first dimension."""
    import torch

    shapes = ({0: torch.export.Dim("batch", min=1)},) if symbolic else None
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
                dynamic_shapes=shapes,
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
    return graph if symbolic else _free_batch(graph, len(example))


def _free_batch(graph: onnx.ModelProto, traced: int) -> onnx.ModelProto:
    """Forget the batch size that a graph was traced with: reshapes keep dimension 0 as it comes."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
    free: set[str] = set()
    for node in graph.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = constants[node.input[1]].copy()
        if not len(shape) or shape[0] != traced:
            continue
        shape[0] = 0  # "as in the input", unless allowzero makes it a zero
        # Several nodes may read one constant, and not all of them are reshapes: it stays as it is.
        node.input[1] = f"{node.input[1]}_free"
        if node.input[1] not in free:
            free.add(node.input[1])
            graph.graph.initializer.append(onnx.numpy_helper.from_array(shape, node.input[1]))
        kept = [a for a in node.attribute if a.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)
    remove_unused_constants(graph.graph)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(graph)


def _pool_globally(graph: onnx.ModelProto) -> None:
    """Write the mean over height and width as GlobalAveragePool: the same arithmetic, in every opset, and the
    quantizers know it."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in graph.graph.value_info}
    for node in graph.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        keep = attribute(node, "keepdims", 1)
        axes = sorted(int(axis) % 4 for axis in constants[node.input[1]].ravel())
        if keep and axes == [2, 3] and ranks.get(node.input[0], 4) == 4:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            del node.input[1:]
    remove_unused_constants(graph.graph)
