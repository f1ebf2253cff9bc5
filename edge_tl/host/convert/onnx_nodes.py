"""ONNX nodes written one after the other, each named for its place. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, TensorProto

from edge_tl.device.runtimes.matrix_layers import PIXEL_NODES

PREFIX = PIXEL_NODES


@dataclass
class Nodes:
    """Nodes and constants as they are added; a name stands for a tensor."""

    graph: GraphProto = field(default_factory=GraphProto)

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{PREFIX}{len(self.graph.node)}_{operator}"
        self.graph.node.append(onnx.helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: Any, kind: type[np.generic] = np.int64) -> str:
        """Of a scalar, a list or an array."""
        name = f"{PREFIX}constant{len(self.graph.initializer)}"
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def double(self, value: str) -> str:
        return self("Cast", value, to=TensorProto.DOUBLE)

    def shaped(self, value: str, *shape: int) -> str:
        return self("Reshape", value, self.constant(shape))

    def slice(self, value: str, start: str, end: str, axis: int) -> str:
        """`start` and `end` are of one element."""
        return self("Slice", value, start, end, self.constant([axis]))
