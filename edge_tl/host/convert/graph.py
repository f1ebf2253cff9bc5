"""Reading and editing ONNX graphs: what makes and what reads a tensor, constants, attributes. Knows no quantizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """The initializers by name."""
    return {each.name: each for each in graph.initializer}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes a tensor, by the tensor's name."""
    return {name: node for node in graph.node for name in node.output}


def consumers(graph: GraphProto) -> defaultdict[str, list[NodeProto]]:
    """The nodes that read a tensor, by the tensor's name; none for a name that nothing reads."""
    found: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute, `default` where the node has none of that name."""
    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def set_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Make `nodes`, in this order, the graph's."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def remove_unused_constants(graph: GraphProto) -> None:
    """Remove the initializers that no node reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def add_constant(graph: GraphProto, name: str, value: NDArray[Any] | np.generic) -> str:
    """The name of an initializer that the graph has from now on; one of that name stays as it is."""
    if name not in constants(graph):
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return name
