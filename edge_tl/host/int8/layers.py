"""What a graph's layers cost and where the delicate ones are: multiply-accumulates, squeeze-and-excite gates, ends."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx

from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert import graph as graphs

_OF_A_GATE = ("Conv", "Relu", "HardSigmoid", "Sigmoid", "HardSwish", "Mul")


class Layers:
    """The prepared FP32 ONNX file at `path`, its layers by node name."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
        self._makers, self._readers = graphs.producers(self.graph), graphs.consumers(self.graph)
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self._shapes: dict[str, list[int]] = {
            v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
        }
        self._constants: dict[str, list[int]] = {i.name: list(i.dims) for i in self.graph.initializer}
        self.macs = {
            node.name: self._cost(node) for node in self.graph.node if node.op_type in MATRIX_OPERATORS
        }

    def share(self, excluded: Collection[str]) -> float:
        """The fraction of all multiply-accumulates that the nodes named in `excluded` do."""
        return sum(self.macs.get(name, 0) for name in excluded) / max(sum(self.macs.values()), 1)

    def gates(self) -> set[str]:
        """Squeeze-and-excite: every node from the pooled mean to the gate, and the multiplication it enters."""
        found: set[str] = set()
        for node in self.graph.node:
            if node.op_type not in ("HardSigmoid", "Sigmoid"):
                continue
            chain, here = [node], node
            while (maker := self._makers.get(here.input[0])) is not None and self._is_of_a_gate(maker):
                chain.append(maker)
                here = maker
            pooled = self._makers.get(here.input[0])
            if (
                pooled is not None
                and pooled.op_type in ("GlobalAveragePool", "ReduceMean")
                and len(chain) > 1
            ):
                found |= {each.name for each in chain}
                found |= {user.name for user in self._readers[node.output[0]] if user.op_type == "Mul"}
        return found

    def ends(self) -> set[str]:
        """The first and the last layer."""
        matrix = list(self.macs)
        return {matrix[0], matrix[-1]} if matrix else set()

    def _is_of_a_gate(self, node: onnx.NodeProto) -> bool:
        """Whether it works on one value a channel."""
        return bool(node.op_type in _OF_A_GATE and self._shapes.get(node.output[0], [])[2:] == [1, 1])

    def _cost(self, node: onnx.NodeProto) -> int:
        """Multiply-accumulates for one image."""
        weight = self._constants.get(node.input[1]) or self._shapes.get(node.input[1]) or []
        out = self._shapes.get(node.output[0]) or []
        if node.op_type == "Conv":
            return math.prod(weight) * math.prod(out[2:])
        rows = math.prod(d for d in out[1:-1] if d) if len(out) > 2 else 1
        return int(np.prod(weight)) * rows
