"""Makes `assets/`: two tiny classifiers and INT8 versions of the first. Run it at the desk; the files are committed.

    .venv/bin/python tests/device/make_tiny.py

`tiny` and `other` share every shape and differ in their weights (seeds 0 and 1): 3 classes, 16x16 px, dynamic
batch, opset 13. The device has no onnx package, so tests must only read what this wrote.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

ASSETS = Path(__file__).parent / "assets"
CLASSES, SIDE = 3, 16


def images(count: int) -> np.ndarray:
    """Flat colours with noise, normalized as a photograph is: `(count, 3, 16, 16)`."""
    rng = np.random.default_rng(7)
    colours = rng.uniform(-1.8, 2.2, (count, 3, 1, 1))
    return (colours + rng.normal(0, 0.4, (count, 3, SIDE, SIDE))).astype(np.float32)


def build(seed: int, gemm_bias: np.ndarray) -> onnx.ModelProto:
    """Conv 3->8 stride 2, ReLU, global average pool, Gemm to 3 logits; random weights."""
    rng = np.random.default_rng(seed)
    weights = {
        "conv_w": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "conv_b": rng.normal(0, 0.3, 8),
        "gemm_w": rng.normal(0, 2.0, (8, CLASSES)),
        "gemm_b": gemm_bias,
    }
    nodes = [
        helper.make_node("Conv", ["input", "conv_w", "conv_b"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "gemm_w", "gemm_b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def logits(model: onnx.ModelProto) -> np.ndarray:
    """What ONNX Runtime answers on `images(64)`."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: np.ndarray = session.run(None, {"input": images(64)})[0]
    return answers


def balanced(seed: int) -> onnx.ModelProto:
    """With the last bias set so that every class is answered."""
    return build(seed, -logits(build(seed, np.zeros(CLASSES))).mean(axis=0))


def onnx_int8(fp32: Path, int8: Path) -> None:
    """Static QDQ."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        rest = iter(images(64))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {"input": image[None]}

    quantize_static(
        str(fp32), str(int8), Reader(), weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8
    )


def openvino_int8(fp32: Path, int8: Path) -> None:
    """NNCF post-training quantization."""
    import nncf

    model = nncf.quantize(openvino.Core().read_model(fp32), nncf.Dataset(list(images(64)[:, None])))
    openvino.save_model(model, int8, compress_to_fp16=False)


def main() -> None:
    """Write every file."""
    ASSETS.mkdir(exist_ok=True)
    for seed, name in ((0, "tiny"), (1, "other")):
        model = balanced(seed)
        onnx.save_model(model, str(ASSETS / f"{name}.onnx"))
        openvino.save_model(
            openvino.convert_model(ASSETS / f"{name}.onnx"), ASSETS / f"{name}.xml", compress_to_fp16=False
        )
    with tempfile.TemporaryDirectory() as scratch:
        onnx_int8(ASSETS / "tiny.onnx", Path(scratch) / "int8.onnx")
        (ASSETS / "tiny.int8.onnx").write_bytes((Path(scratch) / "int8.onnx").read_bytes())
    openvino_int8(ASSETS / "tiny.xml", ASSETS / "tiny.int8.xml")


if __name__ == "__main__":
    main()
