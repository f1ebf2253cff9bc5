"""Which products a runtime adds in 16 bits, found by planting: a layer for each pair of places, all else zero.

Run as `python saturating_pairs.py openvino|onnxruntime` it prints, for each layer of `LAYERS`, the pairs whose sum was
cut. OpenVINO's is capped by ONEDNN_MAX_CPU_ISA; ONNX Runtime runs on an older CPU under qemu-x86_64. It imports nothing
of edge_tl, which needs more than an emulated CPU has.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

# (input channels, kernel, groups); kernel 0 is a Gemm.
LAYERS = (
    (3, 3, 1),
    (5, 3, 1),
    (8, 3, 1),
    (16, 1, 1),
    (18, 1, 1),
    (48, 3, 48),
    (20, 5, 20),
    (8, 3, 2),
    (18, 0, 1),
)
_SIDE = 8
_SCALE = np.float32(300)  # of the output: 2 * 127 * 255 is code 216, and what is cut is 109


def planted(channels: int, kernel: int, groups: int) -> tuple[NDArray[np.int8], list[tuple[int, int]]]:
    """Weights with 127 at two places of each output channel, and which places. In a grouped layer the groups take the
    pairs in turns, so that no group sees them all."""
    shape = (channels // groups, *((kernel, kernel) if kernel else ()))
    pairs = list(combinations(range(int(np.prod(shape))), 2))
    if groups == channels:
        pairs = [pairs[i % len(pairs)] for i in range(channels)]
    pairs += [pairs[-1]] * (-len(pairs) % (16 * groups) if groups != channels else 0)
    weights = np.zeros((len(pairs), *shape), np.int8)
    for row, places in zip(weights, pairs, strict=True):
        row.reshape(-1)[list(places)] = 127
    return weights, pairs


def write_model(path: Path, weights: NDArray[np.int8], groups: int) -> list[int]:
    """A Q/DQ model of the one layer; returns the shape of its input."""
    gemm, kernel, rows = weights.ndim == 2, weights.shape[-1], len(weights)
    shape = [1, weights.shape[1] * groups, *(() if gemm else (_SIDE, _SIDE))]
    side = _SIDE - kernel + 1
    constants = {
        "one": np.float32(1), "zero": np.uint8(0), "codes": weights, "scales": np.ones(rows, np.float32),
        "zeros": np.zeros(rows, np.int8), "step": _SCALE,
    }  # fmt: skip
    layer = (
        helper.make_node("Gemm", ["image", "weight"], ["sum"], transB=1)
        if gemm
        else helper.make_node("Conv", ["image", "weight"], ["sum"], group=groups, kernel_shape=[kernel] * 2)
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "one", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "one", "zero"], ["image"]),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weight"], axis=0),
        layer,
        helper.make_node("QuantizeLinear", ["sum", "step", "zero"], ["code"]),
        helper.make_node("DequantizeLinear", ["code", "step", "zero"], ["logits"]),
    ]
    out = [1, rows] if gemm else [1, rows, side, side]
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)],
        [from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return shape


def infer(runtime: str, path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The layer's output."""
    result: Any
    if runtime == "openvino":
        import openvino

        compiled = openvino.Core().compile_model(openvino.convert_model(str(path)), "CPU")
        result = compiled(images)[0]
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        result = session.run(None, {"images": images})[0]
    return np.asarray(result, np.float32)


def cut_pairs(runtime: str, channels: int, kernel: int, groups: int) -> list[tuple[int, int]]:
    """The pairs of places whose products do not add up, on images that are 255 everywhere."""
    weights, pairs = planted(channels, kernel, groups)
    with tempfile.TemporaryDirectory() as folder:
        shape = write_model(Path(folder) / "m.onnx", weights, groups)
        sums = infer(runtime, Path(folder) / "m.onnx", np.full(shape, 255, np.float32))
    least = sums.reshape(len(weights), -1).min(axis=1)
    return sorted({pair for pair, value in zip(pairs, least, strict=True) if value < 50_000})


if __name__ == "__main__":
    sys.stdout.write(json.dumps([cut_pairs(sys.argv[1], *layer) for layer in LAYERS]) + "\n")
