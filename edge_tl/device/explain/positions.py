"""What the head answers at every position of the last feature map, by the artifact itself, on the CPU.

Where one linear layer follows the mean over all positions, these are class-activation maps (Zhou et al., "Learning Deep
Features for Discriminative Localization", 2016) with the bias: their mean over the positions is the logit. After
another head it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BundleError
from edge_tl.device.explain.onnx_positions import GRID, POSITIONS, with_positions
from edge_tl.device.explain.openvino_positions import split_at_pooling
from edge_tl.device.machine import cores_allowed, openvino_core
from edge_tl.device.runtimes.base import Logits, load_error_text
from edge_tl.device.runtimes.onnxruntime_ import cpu_options
from edge_tl.device.runtimes.onnxruntime_import import import_onnxruntime
from edge_tl.device.runtimes.openvino_ import import_openvino
from edge_tl.device.runtimes.openvino_config import compile_config

Positions = Callable[[NDArray[np.float32]], tuple[Logits, Logits]]
"""Takes one image, float32 `(1, 3, H, W)`, to what the head answers at every position, float32 `(h, w, classes)`, and
to the logits `(classes,)`."""


def open_positions(path: Path) -> Positions | None:
    """Of the model at `path`, `.onnx` or `.xml`; None for one without a mean over height and width on which all of its
    logits hang. Raises `BundleError` for a file that cannot be loaded, `MissingExtra`."""
    try:
        return _of_onnx(path) if path.suffix == ".onnx" else _of_openvino(path)
    except (ValueError, RuntimeError, OSError) as error:
        raise BundleError(
            f"cannot load {path.name} for its heat maps: {load_error_text(error, path)[:300]}. Copy or export it again."
        ) from None


def _of_onnx(path: Path) -> Positions | None:
    installed = import_onnxruntime()
    found = with_positions(path.read_bytes())
    if found is None:
        return None
    content, logits = found
    try:
        session = installed.InferenceSession(
            content, cpu_options(path, cores_allowed()), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the binding raises a dozen unrelated types, all meaning "cannot load"
        raise ValueError(load_error_text(error, path)) from None
    name = session.get_inputs()[0].name

    def positions(image: NDArray[np.float32]) -> tuple[Logits, Logits]:
        answer, each, shape = session.run([logits, POSITIONS, GRID], {name: image})
        return each.reshape(*shape[2:], each.shape[-1]), answer[0]

    return positions


def _of_openvino(path: Path) -> Positions | None:
    import_openvino()
    core = openvino_core()
    parts = split_at_pooling(core.read_model(path))
    if parts is None:
        return None
    how = compile_config(core, "CPU", cores_allowed(), half=False, hint="LATENCY")
    whole, head = (core.compile_model(part, "CPU", how) for part in parts)
    flat = len(head.input(0).partial_shape) == 2

    def positions(image: NDArray[np.float32]) -> tuple[Logits, Logits]:
        found = whole([image])
        channels, high, wide = found[1][0].shape
        each = np.ascontiguousarray(found[1][0].reshape(channels, -1).T)
        answers = head([each if flat else each[:, :, None, None]])[0]
        return answers.reshape(high, wide, answers.shape[-1]).copy(), found[0][0].copy()

    return positions
