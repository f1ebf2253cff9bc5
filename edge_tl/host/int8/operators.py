"""ONNX's operators of image classifiers, computed by PyTorch. Quantizes nothing: that is `fake_quant`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import onnx
import torch
from torch.nn import functional as F

Tensor = torch.Tensor
Inputs = Sequence[Any]
"""Tensors; for operators of `READ`, numpy arrays after the first; None for an input that is left out."""


@dataclass(frozen=True)
class Attributes:
    """A node's attributes with ONNX's defaults, by ONNX's names (onnx, docs/Operators.md)."""

    alpha: float = 0.2  # of HardSigmoid
    beta: float = 0.5
    axis: int = 1
    ceil_mode: int = 0
    count_include_pad: int = 0
    dilations: tuple[int, ...] = (1, 1)
    group: int = 1
    kernel_shape: tuple[int, ...] = ()
    pads: tuple[int, ...] = (0, 0, 0, 0)
    perm: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1, 1)
    transB: int = 0

    @classmethod
    def of(cls, node: onnx.NodeProto) -> Attributes:
        """Those of `node` that an operator here reads."""
        known = {each.name for each in fields(cls)}
        return cls(**{each.name: _value(each) for each in node.attribute if each.name in known})


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return tuple(value) if isinstance(value, list) else value


def _conv(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, weight, *bias = inputs
    value, padding = _padded(value, attributes.pads, 0.0)
    return F.conv2d(
        value,
        weight,
        bias[0] if bias else None,
        attributes.strides,
        padding,
        attributes.dilations,
        attributes.group,
    )


def _padded(value: Tensor, pads: tuple[int, ...], fill: float) -> tuple[Tensor, tuple[int, int]]:
    """With uneven padding added; even padding is left to the operator."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return value, (top, left)
    return F.pad(value, (left, right, top, bottom), value=fill), (0, 0)


def _gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, weight, *bias = inputs
    weight = weight if attributes.transB else weight.T
    return F.linear(value, weight, bias[0] if bias else None)


def _max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, padding = _padded(inputs[0], attributes.pads, -torch.inf)
    pooled: Tensor = F.max_pool2d(
        value,
        attributes.kernel_shape,
        attributes.strides,
        padding,
        ceil_mode=bool(attributes.ceil_mode),
    )
    return pooled


def _average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, padding = _padded(inputs[0], attributes.pads, 0.0)
    return F.avg_pool2d(
        value,
        attributes.kernel_shape,
        attributes.strides,
        padding,
        count_include_pad=bool(attributes.count_include_pad),
    )


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, shape = inputs
    result: Tensor = value.reshape([value.shape[i] if d == 0 else int(d) for i, d in enumerate(shape)])
    return result


def _clip(inputs: Inputs, attributes: Attributes) -> Tensor:
    value, *ends = inputs
    low, high = (None if end is None else float(end) for end in [*ends, None, None][:2])
    result: Tensor = value.clamp(low, high)
    return result


READ = ("Clip", "Reshape")
"""Operators whose constants are numbers for Python."""
OPERATORS: dict[str, Callable[[Inputs, Attributes], Tensor]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda i, a: i[0] @ i[1],
    "Relu": lambda i, a: F.relu(i[0]),
    "Clip": _clip,
    "HardSwish": lambda i, a: F.hardswish(i[0]),
    "HardSigmoid": lambda i, a: (a.alpha * i[0] + a.beta).clamp(0, 1),
    "Sigmoid": lambda i, a: i[0].sigmoid(),
    "Mul": lambda i, a: i[0] * i[1],
    "Add": lambda i, a: i[0] + i[1],
    "Concat": lambda i, a: torch.cat(list(i), a.axis),
    "GlobalAveragePool": lambda i, a: i[0].mean((2, 3), keepdim=True),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Reshape": _reshape,
    "Flatten": lambda i, a: i[0].flatten(a.axis),
    "Transpose": lambda i, a: i[0].permute(a.perm),
    "Identity": lambda i, a: i[0],
}
