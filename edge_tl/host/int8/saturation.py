"""Which INT8 weights can saturate the products of x86 CPUs without VNNI, and the scales with which none can.

There the kernels of oneDNN (OpenVINO) and MLAS (ONNX Runtime) multiply unsigned activations by signed weights with
`vpmaddubsw`: two products are added in signed 16 bits, and what does not fit is cut (Intel, "Intel 64 and IA-32
Architectures Software Developer's Manual", volume 2B, PMADDUBSW). Everything after that is added in 32 bits. So a sum
is wrong only where one pair is: where 255 times what two weights of a pair add up to leaves [-32768, 32767], that is,
where two positive or two negative codes of a pair add up to more than 128. Seven bits (at most 64) never do.

Which weights are a pair was found by planting two large ones at every pair of places and looking which products are cut
(tests/host/int8/saturating_pairs.py): in oneDNN at every instruction set that it can be capped to, in MLAS on an
emulated AVX2 CPU. Its SSE4.1 kernels widen before they add. Runs no model.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert import graph as graphs

Weights = NDArray[np.float32]
MOST = 128
"""What the codes of a pair may add up to, those of one sign: 255 * 128 = 32640."""
_CODES = 127
_BLOCK = 16  # output channels at a time: the pairs of a large layer are a copy of its weights


@lru_cache(maxsize=256)
def added_pairs(shape: tuple[int, ...], groups: int = 1) -> NDArray[np.int64]:
    """The places `(pairs, 2)` in an output channel's flattened weights whose products are added in 16 bits; `shape` is
    that of all weights, `(out, in / groups, *kernel)`.

    oneDNN pairs the input channels 2i and 2i + 1 at one place of the kernel. MLAS pairs successors in channels-last
    order, which is the same unless the count of channels is odd. A depthwise convolution has kernels of its own, which
    widen before they add: no pairs. In other grouped ones any two weights count as a pair, to be safe.
    """
    channels, taps = shape[1], int(np.prod(shape[2:]))
    if groups > 1 and channels == 1 and shape[0] == groups:
        return np.empty((0, 2), np.int64)
    places = np.arange(channels * taps).reshape(channels, taps)
    if groups > 1:
        return np.stack(np.triu_indices(places.size, 1), axis=1)
    even = channels // 2 * 2
    onednn = np.stack([places[0:even:2].ravel(), places[1:even:2].ravel()], axis=1)
    flat = places.T.ravel()[: places.size // 2 * 2].reshape(-1, 2)
    return np.unique(np.concatenate([onednn, flat]), axis=0)


def largest_pairs(weights: NDArray[np.generic], groups: int = 1) -> NDArray[np.float64]:
    """Of every output channel of `weights`, `(out, in / groups, *kernel)`, the most that two weights of a pair add up
    to, those of one sign: `(out,)`, at least 0."""
    pairs = added_pairs(weights.shape, groups)
    found = np.zeros(len(weights))
    if len(pairs):
        rows = weights.reshape(len(weights), -1)
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK].astype(np.float64)
            for signed in (block, -block):
                most = np.maximum(signed, 0)[:, pairs].sum(axis=2).max(axis=1)
                found[first : first + _BLOCK] = np.maximum(found[first : first + _BLOCK], most)
    return found


def pair_safe_scales(weights: NDArray[np.generic], groups: int = 1) -> Weights:
    """The smallest scales `(out,)` with which symmetric codes of `weights` fit into eight bits and no pair saturates.

    Rounding moves each of two codes by half at most: a pair of at most 127 before becomes at most `MOST`. No scale is
    more than 127 / 63.5 times what eight bits need, as seven bits always are.
    """
    rows = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    most = np.maximum(rows, largest_pairs(weights, groups)) / _CODES
    # Upwards, so that single precision does not put a pair over the edge.
    scales: Weights = np.nextafter(np.maximum(most, 1e-12).astype(np.float32), np.float32(np.inf))
    return scales


def pair_safe_overrides(prepared: Path, excluded: Collection[str]) -> dict[str, list[Any]]:
    """The quantizer's overrides of weights: a scale for each output channel. A weight that several layers share takes
    the largest."""
    graph = onnx.load(str(prepared)).graph
    constants = graphs.constants(graph)
    axes: dict[str, int] = {}
    scales: dict[str, NDArray[np.float32]] = {}
    for node in graph.node:
        if node.op_type not in MATRIX_OPERATORS or node.name in excluded or node.input[1] not in constants:
            continue
        name = node.input[1]
        weights, groups = out_first(node, onnx.numpy_helper.to_array(constants[name]))
        own = pair_safe_scales(weights, groups)
        scales[name] = np.maximum(scales[name], own) if name in scales else own
        axes[name] = out_axis(node, len(constants[name].dims))
    zero = np.int8(0)
    return {
        name: [{"axis": axes[name], "scale": scale, "zero_point": zero} for scale in found]
        for name, found in scales.items()
    }


def saturating_layers(graph: onnx.GraphProto) -> list[str]:
    """The names of the layers of a Q/DQ graph whose sums may be cut on an x86 CPU without VNNI; [] proves that none is,
    for any images. Raises nothing: what is not known to be safe is named.

    A layer with rounded weights counts whatever stands before it: both runtimes move a DequantizeLinear behind a
    reshape or a pooling, and then compute in integers what looks like float here.
    """
    constants, makers = graphs.constants(graph), graphs.producers(graph)
    found = []
    for node in graph.node:
        if node.op_type not in MATRIX_OPERATORS or (weight := makers.get(node.input[1])) is None:
            continue
        if weight.op_type != "DequantizeLinear":
            continue  # computed in float
        image, codes = makers.get(node.input[0]), constants.get(weight.input[0])
        signed = (
            image is not None and image.op_type == "DequantizeLinear" and not _is_unsigned(image, constants)
        )
        known = codes is not None and codes.data_type == onnx.TensorProto.INT8 and not signed
        if not known or _pairs_of(node, codes) > MOST:
            found.append(node.name)
    return found


def _pairs_of(node: onnx.NodeProto, codes: onnx.TensorProto) -> float:
    rows, groups = out_first(node, onnx.numpy_helper.to_array(codes))
    return float(largest_pairs(rows, groups).max(initial=0.0))


def out_first(node: onnx.NodeProto, weights: NDArray[np.generic]) -> tuple[NDArray[np.generic], int]:
    """The weights of a layer as `(out, in / groups, *kernel)`, and its groups."""
    if node.op_type == "Conv":
        return weights, int(graphs.attribute(node, "group", 1))
    rows = np.moveaxis(weights, out_axis(node, weights.ndim), 0)
    return rows.reshape(len(rows), -1), 1


def out_axis(node: onnx.NodeProto, dimensions: int) -> int:
    """The axis of a layer's weights that counts its output channels."""
    first = node.op_type == "Conv" or (node.op_type == "Gemm" and graphs.attribute(node, "transB"))
    return 0 if first else dimensions - 1


def _is_unsigned(dequantize: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    zero = constants.get(dequantize.input[2]) if len(dequantize.input) > 2 else None
    return zero is not None and zero.data_type == onnx.TensorProto.UINT8
