"""The activations of an OpenVINO model by the operators that its CPU plugin fuses with the layer before. Changes no
answer.
"""

from __future__ import annotations

from typing import Any


def use_hsigmoid(model: Any) -> None:
    """Replace every HardSigmoid of an `openvino.Model` that is PyTorch's (x / 6 + 1 / 2, cut at 0 and 1) by HSigmoid.

    ONNX has one operator, OpenVINO two. Its CPU plugin fuses HSigmoid, and x * HSigmoid(x), with a quantized
    convolution; HardSigmoid it runs by a reference kernel in float, with a change of layout before and after.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() != "HardSigmoid":
            continue
        x, alpha, beta = (node.input_value(i) for i in range(3))
        if abs(6 * _number(alpha) - 1) > 1e-4 or _number(beta) != 0.5:
            continue
        made = opset13.hsigmoid(x)
        made.set_friendly_name(node.get_friendly_name())
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(made.output(0))


def _number(output: Any) -> float:
    """Of a constant; not a number of anything else."""
    node = output.get_node()
    return float(node.data.item()) if node.get_type_name() == "Constant" else float("nan")
