"""The same of an OpenVINO model: its part up to the last feature map, and its head for single positions.

Both are cut out of the model as it was read; the file stays as it is. Compiles nothing.
"""

from __future__ import annotations

from typing import Any

from edge_tl.device.runtimes.openvino_ import import_openvino

_SPATIAL = ([2, 3], [-2, -1])


def split_at_pooling(model: Any) -> tuple[Any, Any] | None:
    """Of an `openvino.Model`, which is used up: one from images to the logits and the last feature map
    `(n, channels, h, w)`, one from features `(n, channels, 1, 1)` or `(n, channels)` to logits. None where the logits
    do not hang on one mean over height and width.

    The head's activations are not rounded: the scales of an INT8 head fit means, and would cut what a single position
    holds.
    """
    openvino = import_openvino()
    head = model.clone()
    if len(model.outputs) != 1 or len(model.inputs) != 1 or (pool := _pooling(model)) is None:
        return None
    model.add_outputs(pool.input_value(0))
    same = _pooling(head)
    kind, shape = same.output(0).get_element_type(), same.output(0).partial_shape
    shape[0] = openvino.Dimension(-1)
    features = openvino.opset13.parameter(shape, kind, name="features")
    logits = head.get_results()[0].input_value(0)
    for node in _between(head, same) or []:
        if node.get_type_name() == "FakeQuantize":
            _read_instead(node.output(0), node.input_value(0))
    _read_instead(same.output(0), features.output(0))
    return model, openvino.Model([openvino.opset13.result(logits)], [features], "head")


def _read_instead(old: Any, new: Any) -> None:
    for reader in list(old.get_target_inputs()):
        reader.replace_source_output(new)


def _pooling(model: Any) -> Any:
    """The last mean over height and width on which all of the logits hang, or None."""
    for node in reversed(model.get_ordered_ops()):
        if _is_global_mean(node) and _between(model, node) is not None:
            return node
    return None


def _is_global_mean(node: Any) -> bool:
    if node.get_type_name() != "ReduceMean" or node.input_value(0).partial_shape.rank.get_max_length() != 4:
        return False
    axes = node.input_value(1).get_node()
    return axes.get_type_name() == "Constant" and sorted(axes.data.ravel().tolist()) in _SPATIAL


def _between(model: Any, start: Any) -> list[Any] | None:
    """The nodes from `start` to the logits; None where the logits have another way to the images."""
    wanted = [model.get_results()[0].input_value(0).get_node()]
    names: set[str] = set()
    found = []
    while wanted:
        node = wanted.pop()
        name = node.get_friendly_name()
        if name == start.get_friendly_name() or name in names:
            continue
        if node.get_type_name() == "Parameter":
            return None
        names.add(name)
        found.append(node)
        wanted += [value.get_node() for value in node.input_values()]
    return found
