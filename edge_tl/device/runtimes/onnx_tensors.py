"""Which types an ONNX file computes with, read from its bytes: a compiler of an accelerator shows nothing of it.

Loads no model.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_tl.device.model_metadata import MOST_FIELDS, onnx_fields, onnx_graph_fields
from edge_tl.device.runtimes.matrix_layers import is_matrix_operator

_FLOAT16, _UINT8 = 10, 2  # of onnx.proto, TensorProto.DataType
_NODE, _INITIALIZER = 1, 5
_INPUT, _OPERATOR = 1, 4  # of a node
_TYPE, _NUMBERS, _NAME, _BYTES = 2, (4, 5, 7, 10, 11), 8, 9  # of a tensor


@dataclass
class OnnxTensors:
    """`weights` are the data types (of `TensorProto.DataType`) of what matrix layers read and the file holds;
    `zero_points` the names of zero points that are UINT8 or not 0."""

    weights: set[int] = field(default_factory=set)
    zero_points: list[str] = field(default_factory=list)

    @property
    def half(self) -> bool:
        """Whether all matrix layers have FP16 weights."""
        return self.weights == {_FLOAT16}


def read_onnx_tensors(path: Path) -> OnnxTensors:
    """Of the file's own graph, not of those that a Loop holds. Raises `OSError`, and `ValueError` for what is no ONNX
    file."""
    types: dict[str, int] = {}
    moved: set[str] = set()  # initializers that are UINT8 or hold another number than 0
    nodes: list[tuple[str, list[str]]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        left = iter(range(MOST_FIELDS))
        for kind, start, end in onnx_graph_fields(content, left):
            if kind == _NODE:
                nodes.append(_node(content, start, end, left))
            elif kind == _INITIALIZER:
                name, types_of, zero = _tensor(content, start, end, left)
                types[name] = types_of
                if types_of == _UINT8 or not zero:
                    moved.add(name)
    found = OnnxTensors()
    for operator, inputs in nodes:
        if is_matrix_operator(operator) and len(inputs) > 1 and inputs[1] in types:
            found.weights.add(types[inputs[1]])
        elif operator in ("QuantizeLinear", "DequantizeLinear") and len(inputs) > 2 and inputs[2] in moved:
            found.zero_points.append(inputs[2])
    return found


def _node(content: mmap.mmap, start: int, end: int, left: Iterator[int]) -> tuple[str, list[str]]:
    operator, inputs = "", []
    for number, a, b in onnx_fields(content, start, end, left):
        if number == _OPERATOR:
            operator = content[a:b].decode(errors="replace")
        elif number == _INPUT:
            inputs.append(content[a:b].decode(errors="replace"))
    return operator, inputs


def _tensor(content: mmap.mmap, start: int, end: int, left: Iterator[int]) -> tuple[str, int, bool]:
    """Name, data type, and whether all that is stored is 0."""
    name, kind, zero = "", 0, True
    for number, a, b in onnx_fields(content, start, end, left):
        if number == _NAME:
            name = content[a:b].decode(errors="replace")
        elif number == _TYPE:
            kind = a
        elif number == _BYTES:
            zero = zero and not any(content[a:b])
        elif (
            number in _NUMBERS
        ):  # packed into bytes, or one at a time, its start and end then being the number
            zero = zero and not (any(content[a:b]) if b > a else a)
    return name, kind, zero
