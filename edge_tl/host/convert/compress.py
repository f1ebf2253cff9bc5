"""From FP32 artifacts to FP16 for accelerators and to INT8 weights for size. Evaluates neither.

Neither computes in integers. FP16 halves the file and is what GPUs and NPUs compute in; on a CPU it is computed in
float32. Weights in INT8, per output channel and symmetric, quarter the file; activations and arithmetic stay float.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array

from edge_tl.device.machine import openvino_core
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert.fp32 import add_metadata, save_openvino
from edge_tl.host.convert.graph import attribute, constants, remove_unused_constants, set_nodes
from edge_tl.host.convert.model_file import quiet

FP16, W8 = "fp16", "w8"


def compress(precision: str, fp32: Path, out: Path, contract: Preprocess, labels: list[str]) -> None:
    """Write `fp32` (`.onnx`, or `.xml` and `.bin`) to `out` of the same kind in `precision`, "fp16" or "w8"."""
    if fp32.suffix == ".onnx":
        make = _half_onnx if precision == FP16 else _whole_weights
        graph = make(onnx.load(str(fp32)))
        add_metadata(graph, contract, labels)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save_model(graph, str(out))
        return
    model = openvino_core().read_model(fp32)
    if precision == W8:
        import nncf

        with quiet():
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    save_openvino(model, out, contract, labels, half=precision == FP16)


def _half_onnx(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Images and logits stay float32: what calls the model need not know."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = OnnxModel(convert_float_to_float16(graph, keep_io_types=True))
    half.topological_sort()  # the conversion appends its casts at the end
    return half.model


def _whole_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Every constant that a convolution or a product multiplies by, as INT8, cast and scaled before its use.

    ONNX Runtime does both once, when it loads the file. A DequantizeLinear, which says the same, it leaves in place and
    computes convolutions 60 times slower; NNCF's, for ONNX, has scales of a shape that it refuses.
    """
    weights_by_name = constants(graph.graph)
    added: list[onnx.NodeProto] = []
    for node in list(graph.graph.node):
        name = node.input[1] if len(node.input) > 1 else ""
        if node.op_type not in MATRIX_OPERATORS or name not in weights_by_name:
            continue
        if f"{name}_int8" not in weights_by_name:
            weights = to_array(weights_by_name[name])
            axis = _output_axis(node, weights.ndim)
            others = tuple(d for d in range(weights.ndim) if d != axis)
            scale = np.abs(weights).max(axis=others, keepdims=True) / np.float32(127)
            scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
            made = (
                from_array(np.rint(weights / scale).astype(np.int8), f"{name}_int8"),
                from_array(scale, f"{name}_scale"),
            )
            graph.graph.initializer.extend(made)
            weights_by_name |= {each.name: each for each in made}
            added += [
                onnx.helper.make_node("Cast", [f"{name}_int8"], [f"{name}_whole"], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Mul", [f"{name}_whole", f"{name}_scale"], [f"{name}_float"]),
            ]
        node.input[1] = f"{name}_float"
    set_nodes(graph.graph, [*added, *graph.graph.node])
    remove_unused_constants(graph.graph)
    return graph


def _output_axis(node: onnx.NodeProto, dimensions: int) -> int:
    """Of the weight's dimensions the one that makes output channels."""
    if node.op_type == "Conv":
        return 0
    return 0 if attribute(node, "transB", 0) else dimensions - 1
