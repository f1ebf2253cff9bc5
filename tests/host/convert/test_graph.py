"""What makes and what reads a tensor of an ONNX graph, its constants and attributes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

from edge_tl.host.convert import graph as graphs


@pytest.fixture
def graph() -> GraphProto:
    """x -> Gemm(w) -> Relu -> y; nothing reads `unused`."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "gemm", transB=1),
        helper.make_node("Relu", ["h"], ["y"], "relu"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    constants = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in ("w", "unused")]
    return helper.make_graph(nodes, "g", values[:1], values[1:], constants)


def test_tensors_know_their_nodes(graph: GraphProto):
    assert graphs.producers(graph)["h"].name == "gemm"
    assert [node.name for node in graphs.consumers(graph)["h"]] == ["relu"]
    assert graphs.consumers(graph)["y"] == []
    assert set(graphs.constants(graph)) == {"w", "unused"}


def test_an_attribute_has_a_default(graph: GraphProto):
    gemm = graph.node[0]
    assert (graphs.attribute(gemm, "transB", 0), graphs.attribute(gemm, "transA", 0)) == (1, 0)


def test_constants_that_nothing_reads_are_removed(graph: GraphProto):
    graphs.remove_unused_constants(graph)
    assert set(graphs.constants(graph)) == {"w"}
    graphs.set_nodes(graph, [node for node in graph.node if node.op_type == "Relu"])
    assert [node.name for node in graph.node] == ["relu"]
