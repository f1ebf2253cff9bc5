"""A Q/DQ graph as a PyTorch module that rounds where the graph rounds, so that it can be trained as it is deployed.

Weights and biases are the float ones behind the graph's integers; gradients pass through the rounding unchanged
(straight-through, Bengio et al., 2013), and the steps of activations are trained with them (Esser et al., "Learned Step
Size Quantization", 2020). Does not train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.numpy_helper import from_array, to_array
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host.convert.fp32 import INPUT
from edge_tl.host.int8.operators import OPERATORS, READ, Attributes
from edge_tl.host.int8.saturation import added_pairs, out_first, saturating_layers

Tensor = torch.Tensor
_PAIR = ("QuantizeLinear", "DequantizeLinear")


class FakeQuantModel(nn.Module):
    """The Q/DQ graph at `qdq`, made from the float graph at `prepared`: float32 `(n, 3, H, W)` to `(n, classes)`.

    Raises `BadInput` that names an operator it does not know.
    """

    def __init__(self, prepared: Path, qdq: Path) -> None:
        super().__init__()
        self._path = qdq
        graph = onnx.load(str(qdq)).graph
        self._nodes = list(graph.node)
        if unknown := {n.op_type for n in self._nodes} - {*OPERATORS, *_PAIR}:
            raise BadInput(
                f"training in INT8: no {', '.join(sorted(unknown))}. Stop below: --ladder up-to=4."
            )
        self._constants = {i.name: to_array(i) for i in graph.initializer}
        # Buffers, so that they follow the module to a device. Their names in the graph may hold dots, a buffer's not.
        self._fixed = {name: f"fixed{i}" for i, name in enumerate(self._constants)}
        for name, value in self._constants.items():
            if value.dtype == np.float32:
                self.register_buffer(self._fixed[name], torch.from_numpy(value.copy()), persistent=False)
        floats = {i.name: to_array(i) for i in onnx.load(str(prepared)).graph.initializer}
        self._attributes = [Attributes.of(node) for node in self._nodes]
        self._output = graph.output[0].name
        self._axes: dict[str, int] = {}
        self._most: dict[str, int] = {}  # the largest code of a weight: 127, or 64 where more could saturate
        self.trained = nn.ParameterDict()
        self.growth = nn.ParameterDict()
        """By the name of an activation's scale, the logarithm of its factor since it was made."""
        safe = not saturating_layers(graph)
        for node, attributes in zip(self._nodes, self._attributes, strict=True):
            name = node.input[0]
            if node.op_type == "DequantizeLinear" and name in self._constants:
                base = name.removesuffix("_quantized")
                self.trained[_key(name)] = nn.Parameter(torch.from_numpy(floats[base].copy()))
                self._axes[name] = attributes.axis
                self._most[name] = self._largest_code(node, safe=safe)
            elif node.op_type == "QuantizeLinear":
                self.growth[_key(node.input[1])] = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.values(images)[self._output]
        return result

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """Every tensor of the graph by name."""
        values: dict[str, Tensor] = {INPUT: images}
        for node, attributes in zip(self._nodes, self._attributes, strict=True):
            if node.op_type == "QuantizeLinear":
                values[node.output[0]] = self._rounded(values[node.input[0]], node)
            elif node.op_type == "DequantizeLinear":
                name = node.input[0]
                values[node.output[0]] = self._weight(node) if name in self._constants else values[name]
            else:
                # What is read as numbers (shapes, the ends of a Clip) stays in numpy: asking a GPU would wait for it.
                read = node.op_type in READ
                inputs = [values[n] if n in values else self._constant(n, read) for n in node.input]
                values[node.output[0]] = OPERATORS[node.op_type](inputs, attributes)
        return values

    def _constant(self, name: str, read: bool) -> Tensor | NDArray[Any] | None:
        """None for an input that is left out."""
        value = self._constants.get(name)
        if read or value is None or value.dtype != np.float32:
            return value
        buffer: Tensor = getattr(self, self._fixed[name])
        return buffer

    def write(self, path: Path) -> None:
        """The graph with what the parameters have become; on any device."""
        model = onnx.load(str(self._path))
        constants = {i.name: i for i in model.graph.initializer}
        with torch.no_grad():
            for node in self._nodes:
                if node.op_type != "DequantizeLinear" or node.input[0] not in self._axes:
                    continue
                name, scale = node.input[:2]
                step = self._step(node).cpu().numpy()
                wide = step.reshape(self._wide(name, step.size)) if step.ndim else step
                whole = self._constants[name].dtype
                limits = np.iinfo(whole)
                codes = np.rint(self.trained[_key(name)].cpu().numpy() / wide).clip(limits.min, limits.max)
                constants[name].CopyFrom(from_array(codes.astype(whole), name))
                constants[scale].CopyFrom(from_array(step.reshape(self._constants[scale].shape), scale))
            for key, growth in self.growth.items():
                name = next(name for name in self._constants if _key(name) == key)
                constants[name].CopyFrom(from_array(self._constants[name] * np.float32(growth.exp()), name))
        onnx.save_model(model, str(path))

    def _largest_code(self, dequantize: onnx.NodeProto, *, safe: bool) -> int:
        """64 where the weight has seven bits, and where no layer of the graph saturates, but this one could: training
        moves weights, and what is proven stays so."""
        codes = self._constants[dequantize.input[0]]
        if np.abs(codes.astype(np.int64)).max(initial=0) <= 64:
            return 64
        layer = next(node for node in self._nodes if dequantize.output[0] in node.input)
        if not safe or codes.ndim < 2:
            return 127
        rows, groups = out_first(layer, codes)
        return 64 if len(added_pairs(rows.shape, groups)) else 127

    def _rounded(self, value: Tensor, node: onnx.NodeProto) -> Tensor:
        """Quantized and dequantized."""
        zero = self._constants[node.input[2]]
        limits = np.iinfo(zero.dtype)
        scale = float(self._constants[node.input[1]]) * self.growth[_key(node.input[1])].exp()
        rounded: Tensor = _Round.apply(value, scale, int(zero), limits.min, limits.max)
        return rounded

    def _weight(self, node: onnx.NodeProto) -> Tensor:
        name = node.input[0]
        value: Tensor = self.trained[_key(name)]
        if value.ndim < 2:  # an int32 bias loses nothing
            return value
        step, most = self._step(node), self._most[name]
        wide = step.reshape(self._wide(name, step.numel())) if step.ndim else step
        # Of PyTorch's own operators none is there for every device.
        rounded: Tensor = _Round.apply(value, wide, 0, -most, most)
        return rounded

    def _step(self, node: onnx.NodeProto) -> Tensor:
        """The scale of a weight from its present extremes, of a bias from what it is added to."""
        name = node.input[0]
        value: Tensor = self.trained[_key(name)].detach()
        old = self._constants[node.input[1]]
        if value.ndim < 2:
            layer = next(n for n in self._nodes if node.output[0] in n.input)
            weight, images = (self._maker(name) for name in (layer.input[1], layer.input[0]))
            source = self._maker(images.input[0])
            inputs: Tensor = torch.from_numpy(old / self._constants[weight.input[1]]).to(value.device)
            grown: Tensor = self.growth[_key(source.input[1])].detach().exp()
            return (inputs * grown * self._step(weight)).float()
        others = [d for d in range(value.ndim) if old.size == 1 or d != self._axes[name]]
        step: Tensor = value.abs().amax(others).clamp(min=1e-8) / self._most[name]
        return step

    def _maker(self, name: str) -> onnx.NodeProto:
        return next(n for n in self._nodes if name in n.output)

    def _wide(self, name: str, channels: int) -> list[int]:
        shape = [1] * self._constants[name].ndim
        if len(shape) > 1:
            shape[self._axes[name]] = channels
        else:
            shape[0] = channels
        return shape


class _Round(torch.autograd.Function):
    """Rounding to codes and back, with the gradients of value and step."""

    @staticmethod
    def forward(context: Any, value: Tensor, scale: Tensor, zero: int, low: int, high: int) -> Tensor:
        codes = torch.round(value / scale)
        cut = codes.clamp(low - zero, high - zero)
        inside = codes == cut
        context.save_for_backward(inside, torch.where(inside, cut - value / scale, cut))
        return cut * scale

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inside, of_scale = context.saved_tensors
        of_step = (gradients[0] * of_scale).sum() if context.needs_input_grad[1] else None
        return gradients[0] * inside, of_step, None, None, None


def _key(name: str) -> str:
    return name.replace(".", "/")  # a ParameterDict takes no dots
