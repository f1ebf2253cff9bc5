"""OpenVINO's own hard activations: the same numbers, fused with the layer before."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from openvino import opset13

from edge_tl.host.int8.openvino_activations import use_hsigmoid


def hard_swish(alpha: float, beta: float) -> openvino.Model:
    """x * HardSigmoid(x) after a convolution."""
    weight = np.random.default_rng(0).normal(0, 1, (8, 3, 3, 3)).astype(np.float32)
    images = opset13.parameter([1, 3, 8, 8], openvino.Type.f32)
    x = opset13.convolution(images, opset13.constant(weight), [1, 1], [1, 1], [1, 1], [1, 1])
    slope, offset = opset13.constant(np.float32(alpha)), opset13.constant(np.float32(beta))
    return openvino.Model([opset13.multiply(x, opset13.hard_sigmoid(x, slope, offset))], [images])


def answers(model: openvino.Model, images: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result: np.ndarray = compiled([images])[0]
    return result


def kinds(model: openvino.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def test_the_numbers_stay_and_the_layer_takes_the_activation():
    images = np.random.default_rng(1).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    model = hard_swish(1 / 6, 0.5)
    before = answers(model, images)
    use_hsigmoid(model)
    assert "HardSigmoid" not in kinds(model)
    np.testing.assert_allclose(answers(model, images), before, atol=1e-4)
    compiled = openvino.Core().compile_model(model, "CPU")
    executed = [op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()]
    assert not {"Math", "Multiply", "Eltwise", "Subgraph"} & set(executed)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.5), (1 / 6, 0.4)])
def test_another_hard_sigmoid_stays(alpha: float, beta: float):
    model = hard_swish(alpha, beta)
    use_hsigmoid(model)
    assert "HardSigmoid" in kinds(model)
