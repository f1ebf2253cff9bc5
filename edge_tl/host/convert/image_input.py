"""A finished model file with the preprocessing put in front of it and a softmax behind; quantizes nothing.

The weights and the labels stay. Of the metadata that Intel's Model API reads, what its own preprocessing would do goes:
it hands the pixels over as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.machine import cores_allowed, openvino_core
from edge_tl.device.model_metadata import PRECISE, session_option
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits, open_runtime
from edge_tl.host.convert import onnx_pixels, openvino_pixels
from edge_tl.host.convert.fp32 import add_metadata, save_openvino

Images = Sequence[NDArray[np.uint8]]


def check_can_be_inside(contract: Preprocess) -> None:
    """Raises `BadInput` for a contract that no runtime's graph of ours computes."""
    for make in (onnx_pixels.pixels_alone, openvino_pixels.pixel_model):
        try:
            make(contract)
        except EdgeTLError as error:
            reason = str(error).partition(". ")[0]
            raise BadInput(
                f"--input: {reason}. Export with --input tensor, or fine-tune with --set model.interpolation=bilinear."
            ) from None


def put_preprocessing_in_front(source: Path, out: Path, contract: Preprocess, labels: list[str]) -> None:
    """Write the model `source` (`.onnx`, or `.xml` and `.bin`), whose input is float32 `(n, 3, H, W)`, to `out` of the
    same kind: uint8 `(1, H, W, 3)` of any size in, probabilities `(1, classes)` out."""
    if source.suffix == ".onnx":
        graph = onnx.load(str(source))
        onnx_pixels.put_in_front(graph, contract)
        option = session_option(source, PRECISE)
        add_metadata(graph, contract, labels, raw_pixels=True)
        if option is not None:
            graph.metadata_props.add(key=PRECISE, value=option)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save_model(graph, str(out))
        return
    model = openvino_core().read_model(source)
    openvino_pixels.take_raw_pixels(model, contract)
    save_openvino(model, out, contract, labels, raw_pixels=True)


class RawAnswers(NamedTuple):
    """Probabilities `(n, classes)`, and what the file's own preprocessing gives its first layer, float32
    `(n, 3, H, W)`."""

    probabilities: Logits
    inputs: NDArray[np.float32]


def answers_to_images(path: Path, twin: Path, images: Images) -> RawAnswers:
    """Of the model file at `path`, which is made of `twin`, to images `(h, w, 3)`, each a call of its own."""
    written = path.stat().st_mtime_ns
    ask: Any = _opened(path, written)
    inputs = _inputs_inside(path, twin, written)
    return RawAnswers(
        np.concatenate([ask(image[None]) for image in images]),
        np.concatenate([inputs(image[None]) for image in images]),
    )


@cache
def _opened(path: Path, written: int) -> Any:
    return open_runtime(path)


@cache
def _inputs_inside(path: Path, twin: Path, written: int) -> Any:
    """The preprocessing of the file itself, cut off where the input of `twin` was: a function from uint8 `(1, H, W, 3)`
    to float32 `(1, 3, height, width)`."""
    if path.suffix == ".onnx":
        graph = onnx.load(str(path))
        _keep_up_to(graph.graph, onnx.load(str(twin)).graph.input[0].name)
        return _onnx_function(graph)
    names = openvino_core().read_model(twin).inputs[0].get_names()
    return _openvino_function(_up_to(openvino_core().read_model(path), names))


def _keep_up_to(graph: onnx.GraphProto, name: str) -> None:
    """Have an ONNX graph end with the float32 tensor `name`, and hold no node that it does not need."""
    needed, kept = {name}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:], graph.output[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))


def _up_to(model: Any, names: set[str]) -> Any:
    """An OpenVINO model that ends with the tensor of these names."""
    import openvino

    [cut] = [out for node in model.get_ordered_ops() for out in node.outputs() if out.get_names() & names]
    return openvino.Model([cut], model.get_parameters(), "inputs")


@cache
def pixels_inside(suffix: str, contract: Preprocess) -> Any:
    """The preprocessing alone, as the runtime of ".onnx" or ".xml" files computes it: a function from uint8
    `(1, H, W, 3)` to uint8 `(1, height, width, 3)`."""
    if suffix == ".onnx":
        return _onnx_function(onnx_pixels.pixels_alone(contract))
    return _openvino_function(openvino_pixels.pixel_model(contract))


def _onnx_function(graph: onnx.ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores_allowed()
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [given] = session.get_inputs()
    return lambda image: session.run(None, {given.name: image})[0]


def _openvino_function(model: Any) -> Any:
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores_allowed()}
    compiled = openvino_core().compile_model(model, "CPU", how)
    return lambda image: compiled([image])[0].copy()
