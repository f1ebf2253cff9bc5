"""Many images at once give what one after another gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import helper
from onnx.numpy_helper import from_array

from edge_tl.device.errors import BundleError
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert.many_images import open_many


def write_model(path: Path) -> Path:
    """A convolution, ReLU, pooling and a linear layer, as `.onnx` or `.xml`, for any batch size."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(8, 3, 3, 3)), "v": rng.normal(size=(8, 5))}
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 64, 64]),
        helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 5]),
    ]
    constants = [from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    made = path.with_suffix(".onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), made)
    if path.suffix == ".xml":
        openvino.save_model(openvino.convert_model(str(made)), str(path), compress_to_fp16=False)
    return path


@pytest.mark.parametrize("name", ["m.onnx", "m.xml"])
def test_answers_are_those_of_one_image_at_a_time_in_their_order(name: str, tmp_path: Path):
    path = write_model(tmp_path / name)
    more_than_read_at_once = 67
    images = np.random.default_rng(0).normal(size=(more_than_read_at_once, 3, 64, 64)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    one = open_runtime(path)
    want = np.concatenate([one(images[i : i + 1]) for i in range(len(images))])
    many = open_many(path)
    assert len(np.unique(want[:, 0])) > 60  # mixed up, they would not be equal
    np.testing.assert_allclose(many(images), want, rtol=0, atol=1e-4)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_allclose(many(mapped[3:5]), want[3:5], rtol=0, atol=1e-4)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path):
    for name in ("m.onnx", "m.xml"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(BundleError, match="cannot load"):
            open_many(tmp_path / name)
