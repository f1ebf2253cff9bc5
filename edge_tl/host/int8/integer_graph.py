"""What a Q/DQ graph needs so that ONNX Runtime's integer kernels run end to end. Chooses no settings, rounds nothing
anew.

ONNX Runtime has kernels on codes for convolutions, products, additions, pooling and the sigmoid. A HardSigmoid between
DequantizeLinear and QuantizeLinear runs in float, with changes of layout around it. But on codes it is no
arithmetic at all: `x / 6 + 1 / 2`, cut at 0 and 1, is the codes of x, cut at the codes of -3 and 3, read with another
scale and zero point. So

    hard-swish       x * HardSigmoid(x)   the codes of x, cut above, times the codes of x: one product
    gate             HardSigmoid(conv)    the convolution's own rounding to [0, 1]: nothing

The standard patterns stay (QuantizeLinear, operators on uint8, DequantizeLinear), which any reader of ONNX knows.
`channel_padding` does the rest, which is about sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.host.convert import graph as graphs
from edge_tl.host.int8.ranges import Range

_TOP = 255
_ENDS = 3.0
"""A hard-swish is 0 below minus this, and the identity above."""


def swish_products(graph: onnx.GraphProto, operators: tuple[str, ...]) -> dict[str, str]:
    """By the name of x, the name of the node that multiplies it with f(x), where f is one of `operators`."""
    makers = graphs.producers(graph)
    found = {}
    for node in graph.node:
        if node.op_type != "Mul":
            continue
        for x, y in (node.input, node.input[::-1]):
            maker = makers.get(y)
            if maker is not None and maker.op_type in operators and maker.input[0] == x:
                found[x] = node.name
    return found


def fitting_ranges(graph: onnx.GraphProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges` of a float graph's tensors, changed where an activation on codes wants it: the input of a hard-swish
    begins at -3, below which all is one to it, and 0 and 3 are whole codes; a gate's output is [0, 1]."""
    fitting = dict(ranges)
    products, readers = swish_products(graph, ("HardSigmoid",)), graphs.consumers(graph)
    for node in graph.node:
        if not _is_standard(node) or node.input[0] not in ranges:
            continue
        if node.input[0] in products:
            if not _is_only_swish(node, readers[node.input[0]]):
                continue
            fitting[node.input[0]] = _range_from(_zero_code(ranges[node.input[0]][1]))
        else:
            fitting[node.output[0]] = 0.0, 1.0
    return fitting


def use_codes(model: onnx.ModelProto) -> None:
    """Have hard-swishes and gates of a Q/DQ graph computed on codes, in place.

    The codes that the graph gives stay, where its ranges are `fitting_ranges`. Where training has moved them, the input
    of a hard-swish is rounded to the nearest that do. A gate is rounded once, no longer before and after.
    """
    graph = model.graph
    for node in [each for each in graph.node if _is_standard(each)]:
        rounded = _rounded_input(graph, node)
        if rounded is None:
            continue
        if len(graphs.consumers(graph)[rounded.dequantize.output[0]]) == 1:
            _absorb_gate(graph, node, rounded)
        else:
            _cut_codes(graph, node, rounded)
    graphs.remove_unused_constants(graph)


@dataclass(frozen=True)
class _Rounded:
    """A tensor's pair, which nothing else reads, and the graph's constants."""

    quantize: onnx.NodeProto
    dequantize: onnx.NodeProto
    constants: dict[str, onnx.TensorProto]

    def value(self, name: str) -> NDArray[np.generic]:
        return np.asarray(onnx.numpy_helper.to_array(self.constants[name]))

    @property
    def scale(self) -> float:
        return float(self.value(self.quantize.input[1]))

    @property
    def zero(self) -> int:
        return int(self.value(self.quantize.input[2]))


def _is_standard(node: onnx.NodeProto) -> bool:
    """Whether it is PyTorch's hard-sigmoid."""
    alpha, beta = (graphs.attribute(node, name, of) for name, of in (("alpha", 0.2), ("beta", 0.5)))
    return bool(node.op_type == "HardSigmoid" and abs(6 * alpha - 1) < 1e-4 and beta == 0.5)


def _is_only_swish(node: onnx.NodeProto, readers: Sequence[onnx.NodeProto]) -> bool:
    """Whether all that reads the input of the HardSigmoid `node` is itself and the product of both: what lies below -3
    is not one to anything else."""
    others = [each for each in readers if each is not node]
    return bool(others) and all(
        each.op_type == "Mul" and set(each.input) == {node.input[0], node.output[0]} for each in others
    )


def _zero_code(high: float) -> int:
    """The code of 0 in the finest range from -3 to `high` with whole codes for 0 and 3; at least 1."""
    # What such a range gives is itself, whatever float32 makes of it.
    return max(1, min(int(_ENDS * _TOP / (high + _ENDS) + 1e-3), _TOP // 2))


def _range_from(zero: int) -> Range:
    return -_ENDS, _ENDS * (_TOP - zero) / zero


def _rounded_input(graph: onnx.GraphProto, node: onnx.NodeProto) -> _Rounded | None:
    """What rounds the input of `node` to uint8, one scale for all channels; None where nothing does, or where
    something else reads it too."""
    makers, readers, constants = graphs.producers(graph), graphs.consumers(graph), graphs.constants(graph)
    dequantize = makers.get(node.input[0])
    quantize = makers.get(dequantize.input[0]) if dequantize is not None else None
    if dequantize is None or quantize is None:
        return None
    if (quantize.op_type, dequantize.op_type) != ("QuantizeLinear", "DequantizeLinear"):
        return None
    if len(readers[quantize.output[0]]) != 1 or any(name not in constants for name in quantize.input[1:]):
        return None
    zero = constants[quantize.input[2]]
    if zero.data_type != onnx.TensorProto.UINT8 or zero.dims:
        return None
    return _Rounded(quantize, dequantize, constants)


def _cut_codes(graph: onnx.GraphProto, node: onnx.NodeProto, x: _Rounded) -> None:
    """Hard-swish: in place of the HardSigmoid the codes of its input, cut at that of 3, with a sixth of the scale."""
    if not _is_only_swish(node, graphs.consumers(graph)[x.dequantize.output[0]]):
        return
    zero = _zero_code(x.scale * (_TOP - x.zero))
    name, step = node.output[0], _ENDS / zero
    for pair in (x.quantize, x.dequantize):
        pair.input[1] = graphs.add_constant(graph, f"{name}_x_scale", np.float32(step))
        pair.input[2] = graphs.add_constant(graph, f"{name}_x_zero", np.uint8(zero))
    codes, at = x.quantize.output[0], list(graph.node).index(node)
    graph.node.remove(node)
    if 2 * zero < _TOP:
        top = graphs.add_constant(graph, f"{name}_top", np.uint8(2 * zero))
        graph.node.insert(at, onnx.helper.make_node("Clip", [codes, "", top], [f"{name}_cut"], f"{name}_cut"))
        codes, at = f"{name}_cut", at + 1
    scale, none = (
        graphs.add_constant(graph, f"{name}_scale_of_cut", np.float32(step / (2 * _ENDS))),
        graphs.add_constant(graph, f"{name}_zero_of_cut", np.uint8(0)),
    )
    read = onnx.helper.make_node("DequantizeLinear", [codes, scale, none], [name], f"{name}_of_cut")
    graph.node.insert(at, read)


def _absorb_gate(graph: onnx.GraphProto, node: onnx.NodeProto, x: _Rounded) -> None:
    """Gate: the convolution gives x + 3, which is rounded to the codes of [0, 6] and read as those of [0, 1]."""
    after = graphs.consumers(graph)[node.output[0]]
    convolution = graphs.producers(graph).get(x.quantize.input[0])
    if len(after) != 1 or after[0].op_type != "QuantizeLinear" or convolution is None:
        return
    if len(graphs.consumers(graph)[x.quantize.input[0]]) != 1:
        return
    if convolution.op_type != "Conv" or not _add_to_bias(graph, convolution, _ENDS):
        return
    [quantize] = after
    name = node.output[0]
    none = graphs.add_constant(graph, f"{name}_zero_of_codes", np.uint8(0))
    x.quantize.input[1] = graphs.add_constant(graph, f"{name}_scale_of_six", np.float32(2 * _ENDS / _TOP))
    x.quantize.input[2] = none
    for reader in graphs.consumers(graph)[quantize.output[0]]:
        reader.input[0] = x.quantize.output[0]
        reader.input[1] = graphs.add_constant(graph, f"{name}_scale_of_one", np.float32(1 / _TOP))
        reader.input[2] = none
    for gone in (x.dequantize, node, quantize):
        graph.node.remove(gone)


def _add_to_bias(graph: onnx.GraphProto, convolution: onnx.NodeProto, amount: float) -> bool:
    """Whether `amount` could be added to every channel's bias of a quantized convolution, which it makes if need be."""
    makers, constants = graphs.producers(graph), graphs.constants(graph)

    def value(name: str) -> NDArray[np.float64]:
        return np.asarray(onnx.numpy_helper.to_array(constants[name]), np.float64)

    if len(convolution.input) == 3:
        bias = makers.get(convolution.input[2])
        if bias is None or bias.op_type != "DequantizeLinear" or bias.input[0] not in constants:
            return False
        old, step, zero = value(bias.input[0]), value(bias.input[1]), bias.input[2]
    else:
        images, weight = (makers.get(name) for name in convolution.input)
        if images is None or weight is None or weight.input[0] not in constants:
            return False
        outputs = constants[weight.input[0]].dims[0]
        old = np.zeros(outputs)
        step = np.broadcast_to(value(images.input[1]) * value(weight.input[1]), outputs)
        zero = ""
    new = old + np.rint(amount / step)
    if np.abs(new).max() > np.iinfo(np.int32).max:  # a channel without weights may have any scale
        return False
    name = f"{convolution.output[0]}_raised_bias"
    inputs = [
        graphs.add_constant(graph, f"{name}_codes", new.astype(np.int32)),
        graphs.add_constant(graph, f"{name}_scale", step.astype(np.float32)),
        zero or graphs.add_constant(graph, f"{name}_zero", np.zeros(len(old), np.int32)),
    ]
    made = onnx.helper.make_node("DequantizeLinear", inputs, [name], name, axis=0)
    graph.node.insert(list(graph.node).index(convolution), made)
    if len(convolution.input) == 3:
        graph.node.remove(makers[convolution.input.pop()])
    convolution.input.append(name)
    return True
