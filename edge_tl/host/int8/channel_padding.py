"""Channels of zeros that let ONNX Runtime take its fastest integer convolution. Changes no answer: every code that was
there before is there after.

On x86 its kernel for depthwise convolutions takes channels in sixteens, that for others takes inputs in fours
(onnxruntime, MlasConvSymPackWSize); what does not fit goes through a slower one. MobileNetV3 expands to 72, 120, 184
and 200 channels, and an image has three.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.host.convert import graph as graphs

_DEPTHWISE, _IMAGE = 16, 4
_CHANNELWISE = (
    "Add",
    "Clip",
    "DequantizeLinear",
    "GlobalAveragePool",
    "HardSigmoid",
    "Mul",
    "QuantizeLinear",
    "Relu",
    "Sigmoid",
)
"""Operators that keep channels apart."""


def pad_channels(model: onnx.ModelProto) -> None:
    """Pad the images and what depthwise convolutions read and give, in a Q/DQ graph, in place. One whose images are not
    rounded to uint8 is for another runtime, and stays as it is."""
    graph = model.graph
    constants = graphs.constants(graph)
    first = graphs.consumers(graph)[graph.input[0].name][0]
    zero = constants.get(first.input[2]) if first.op_type == "QuantizeLinear" else None
    if zero is None or zero.data_type != onnx.TensorProto.UINT8:
        return
    del graph.value_info[:]  # of sizes that change
    view = _View(graph, graphs.producers(graph), constants)
    _pad_images(view)
    group_of = _groups(view)
    for group, convolutions in _paddable(view, group_of).items():
        layer = next(node for node in convolutions if view.is_depthwise(node))
        extra = -view.weight(layer).shape[0] % _DEPTHWISE
        for node in convolutions if extra else ():
            of_input, of_output = (group_of[name] == group for name in (node.input[0], node.output[0]))
            _pad(view, node, extra, of_input=of_input, of_output=of_output)
    graphs.remove_unused_constants(graph)


@dataclass(frozen=True)
class _View:
    """A graph, what makes a tensor, and its constants, by name."""

    graph: onnx.GraphProto
    makers: dict[str, onnx.NodeProto]
    constants: dict[str, onnx.TensorProto]

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """What comes from the images and goes there: the first input of a convolution, all but constants of others,
        and the outputs."""
        if node.op_type == "Conv":
            return [node.input[0], *node.output]
        return [*(name for name in node.input if name and name not in self.constants), *node.output]

    def is_quantized(self, node: onnx.NodeProto) -> bool:
        """Whether it is a convolution, its weights and its bias, if it has one, dequantized constants."""
        made = [self.makers.get(name) for name in node.input[1:]]
        return node.op_type == "Conv" and all(
            each is not None and each.op_type == "DequantizeLinear" and each.input[0] in self.constants
            for each in made
        )

    def is_depthwise(self, node: onnx.NodeProto) -> bool:
        """Whether it is a quantized convolution of one filter a channel."""
        if not self.is_quantized(node) or graphs.attribute(node, "group", 1) == 1:
            return False
        outputs, inputs = self.weight(node).shape[:2]
        return bool(inputs == 1 and graphs.attribute(node, "group", 1) == outputs)

    def weight(self, node: onnx.NodeProto) -> NDArray[np.int8]:
        """Of a quantized convolution."""
        return np.asarray(onnx.numpy_helper.to_array(self.constants[self.makers[node.input[1]].input[0]]))


def _pad_images(view: _View) -> None:
    """A fourth channel of zeros after the images' QuantizeLinear, for a convolution."""
    readers = graphs.consumers(view.graph)
    [quantize, *others] = readers[view.graph.input[0].name]
    if others:
        return
    dequantizers = readers[quantize.output[0]]
    layers = [node for each in dequantizers for node in readers[each.output[0]]]
    if len(layers) != 1 or not view.is_quantized(layers[0]) or graphs.attribute(layers[0], "group", 1) != 1:
        return
    [dequantize], [layer] = dequantizers, layers
    extra = -view.weight(layer).shape[1] % _IMAGE
    if not extra:
        return
    _pad(view, layer, extra, of_input=True, of_output=False)
    codes = quantize.output[0]
    ends = np.array(
        [0, 0, 0, 0, 0, extra, 0, 0], np.int64
    )  # before, then after: images, channels, height, width
    inputs = [codes, graphs.add_constant(view.graph, f"{codes}_ends", ends), quantize.input[2]]
    pad = onnx.helper.make_node("Pad", inputs, [f"{codes}_padded"], f"{codes}_padded")
    view.graph.node.insert(list(view.graph.node).index(dequantize), pad)
    dequantize.input[0] = pad.output[0]


def _groups(view: _View) -> dict[str, str]:
    """For every tensor a name of its group: those of one group have the same channels, position by position."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            name = above
        return name

    for node in view.graph.node:
        first, *rest = map(find, view.activations(node))
        if node.op_type in _CHANNELWISE or view.is_depthwise(node):
            for name in rest:
                leader[find(name)] = find(first)
    return {name: find(name) for name in leader}


def _paddable(view: _View, group_of: dict[str, str]) -> dict[str, Sequence[onnx.NodeProto]]:
    """By the group's name, the convolutions that read or give it, one of them depthwise, where nothing else that is not
    channelwise does."""
    ends = [each.name for each in (*view.graph.input, *view.graph.output)]
    fixed = {group_of[name] for name in ends if name in group_of}
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in view.graph.node:
        groups = {group_of[name] for name in view.activations(node)}
        if view.is_depthwise(node) or (view.is_quantized(node) and graphs.attribute(node, "group", 1) == 1):
            for group in groups:
                found[group].append(node)
        elif node.op_type not in _CHANNELWISE:
            fixed |= groups
    return {
        group: nodes
        for group, nodes in found.items()
        if group not in fixed and any(view.is_depthwise(node) for node in nodes)
    }


def _pad(view: _View, node: onnx.NodeProto, extra: int, *, of_input: bool, of_output: bool) -> None:
    """Give a quantized convolution `extra` channels of zeros."""
    depthwise = view.is_depthwise(node)
    for place, name in enumerate(node.input[1:]):
        dequantize = view.makers[name]
        for i, key in enumerate(dequantize.input):
            value = onnx.numpy_helper.to_array(view.constants[key])
            widths = [(0, 0)] * value.ndim
            if of_output and value.ndim:  # the weight, the bias, and what these have one of per channel
                widths[0] = (0, extra)
            if of_input and not depthwise and (place, i) == (0, 0):
                widths[1] = (0, extra)
            if not any(after for _, after in widths):
                continue
            # A scale of 0 would be none: the last one is repeated.
            wide = np.pad(value, widths, mode="edge" if i == 1 else "constant")
            dequantize.input[i] = graphs.add_constant(
                view.graph, f"{key}_of_{'x'.join(map(str, wide.shape))}", wide
            )
            view.constants[dequantize.input[i]] = onnx.numpy_helper.from_array(wide, dequantize.input[i])
    if depthwise:
        for attribute in node.attribute:
            if attribute.name == "group":
                attribute.i += extra
