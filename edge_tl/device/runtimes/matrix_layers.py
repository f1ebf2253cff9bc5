"""The layers of a model that multiply matrices, where the time goes and what INT8 is about: by ONNX's names, and in
OpenVINO's executed graph. Imports no runtime.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

MATRIX_OPERATORS = ("Conv", "Gemm", "MatMul")
"""ONNX's operators. ONNX Runtime's fused and integer ones hold one of these words: FusedConv, QLinearConv, ..."""
PIXEL_NODES = "pixels/"
"""How the names of nodes begin that preprocess inside a model: of an ONNX file all of them, of OpenVINO's those that
multiply matrices, which are no layers of a model that takes raw pixels."""
_OPENVINO_LAYERS = ("convolution", "fullyconnected", "fully_connected", "matmul", "gemm")


class ExecutedLayer(NamedTuple):
    """`kernel` is oneDNN's name, e.g. "jit_avx2_I8", "" where the device does not tell; `precision` OpenVINO's, "f32",
    "u8", ...: that of the weights, since a CPU computes FP16 weights in float32."""

    kernel: str
    precision: str


def is_matrix_operator(name: str) -> bool:
    """Whether ONNX Runtime's operator `name` multiplies matrices."""
    return any(kind in name for kind in MATRIX_OPERATORS)


def is_of_preprocessing(name: str, operator: str, *, takes_pixels: bool) -> bool:
    """Whether the node `name` is a product of matrices of the preprocessing and no layer: only in a model that takes
    raw pixels, and never a convolution, whatever a file calls it."""
    kinds = ("matmul", "gemm", "fullyconnected", "fully_connected")
    kind = operator.lower()
    return (
        takes_pixels
        and name.startswith(PIXEL_NODES)
        and "conv" not in kind
        and any(each in kind for each in kinds)
    )


def executed_matrix_layers(compiled: Any) -> list[ExecutedLayer]:
    """The matrix layers of an `openvino.CompiledModel` as they were compiled; [] where the device does not show
    them."""
    found: list[ExecutedLayer] = []
    with suppress(RuntimeError):
        executed = compiled.get_runtime_model()
        takes_pixels = compiled.inputs[0].get_element_type().get_type_name() == "u8"
        for node in executed.get_ordered_ops():
            info = node.get_rt_info()
            name, kind = _text(info, "originalLayersNames"), _text(info, "layerType")
            if is_of_preprocessing(name, kind, takes_pixels=takes_pixels):
                continue
            if kind.lower() in _OPENVINO_LAYERS:
                found.append(ExecutedLayer(_text(info, "primitiveType"), _text(info, "runtimePrecision")))
    return found


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""
