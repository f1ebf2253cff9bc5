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
                f"--input: {reason}. Export with --input tensor, or fine-tune with another --resize or interpolation."
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
    """Probabilities `(n, classes)`, and what the graph's own preprocessing makes of the images, uint8
    `(n, H, W, 3)`."""

    probabilities: Logits
    pixels: NDArray[np.uint8]


def answers_to_images(path: Path, contract: Preprocess, images: Images) -> RawAnswers:
    """Of the model file at `path` to images `(h, w, 3)`, each a call of its own."""
    ask: Any = _opened(path, path.stat().st_mtime_ns)
    pixels = pixels_inside(path.suffix, contract)
    return RawAnswers(
        np.concatenate([ask(image[None]) for image in images]),
        np.concatenate([pixels(image[None]) for image in images]),
    )


@cache
def _opened(path: Path, written: int) -> Any:
    return open_runtime(path)


@cache
def pixels_inside(suffix: str, contract: Preprocess) -> Any:
    """The preprocessing alone, as the runtime of ".onnx" or ".xml" files computes it: a function from uint8
    `(1, H, W, 3)` to uint8 `(1, height, width, 3)`."""
    if suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores_allowed()
        content = onnx_pixels.pixels_alone(contract).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {onnx_pixels.IMAGE: image})[0]
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores_allowed()}
    compiled = openvino_core().compile_model(openvino_pixels.pixel_model(contract), "CPU", how)
    return lambda image: compiled([image])[0].copy()
