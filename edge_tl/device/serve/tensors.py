"""The Open Inference Protocol, version 2 (KServe's, https://github.com/kserve/open-inference-protocol), over HTTP: the
model's own input and logits, for clients that preprocess themselves. With Triton's extension for binary
tensors. Knows no HTTP.
"""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput
from edge_tl.device.metrics import softmax
from edge_tl.device.model import Model
from edge_tl.device.records.codec import Json

INPUT, OUTPUTS = "input", ("logits", "probabilities")
MODEL_VERSION = "1"
_JSON_BESIDE = 64 << 10  # bytes of a request that are not its numbers
_BYTES_OF_NUMBER = 25  # the longest that float64 prints, and its comma
_SHORT = reprlib.Repr()  # what was sent may be as long as the sender likes
_SHORT.maxstring = _SHORT.maxother = 100
_PLATFORMS = {".onnx": "onnxruntime_onnx", ".xml": "openvino"}


@dataclass(frozen=True)
class InferRequest:
    """`inputs` float32 `(n, 3, H, W)`; `outputs` by name, and whether each is wanted as bytes."""

    id: str | None
    inputs: NDArray[np.float32]
    outputs: dict[str, bool]


def model_metadata(model: Model) -> Json:
    """What the model takes and gives. `parameters` are ours: labels in the order of the logits, and the contract that
    the input is made by, see `Preprocess`."""
    height, width = model.bundle.preprocess.input_size
    outputs = [{"name": name, "datatype": "FP32", "shape": [-1, len(model.labels)]} for name in OUTPUTS]
    return {
        "name": model.bundle.record.name,
        "versions": [MODEL_VERSION],
        "platform": _PLATFORMS.get(model.artifact.path.suffix, "edge_tl"),
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 3, height, width]}],
        "outputs": outputs,
        "parameters": {
            "artifact": model.artifact.id,
            "labels": model.labels,
            "layout": "NCHW, RGB, preprocessed by the contract",
            "preprocess": model.bundle.preprocess.to_json(),
        },
    }


def read_request(model: Model, body: bytes, header: str | None, most: int) -> InferRequest:
    """The tensor in the body of a request, whose first `header` bytes are JSON. Raises `BadInput`, also for more JSON
    than a request of `most` images can need."""
    size = model.bundle.preprocess.input_size
    try:
        length = len(body) if header is None else int(header)
        text = body[: max(length, 0)]
        if not _can_be_needed(text, (0 if header is not None else most, *size)):
            raise ValueError(f"more JSON than {most} images need")
        document = json.loads(text)
        (tensor,) = document["inputs"]
        name, kind, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"the request is no inference request with one input: {_SHORT.repr(error)}. See /v2/models."
        ) from None
    if (name, kind) != (INPUT, "FP32"):
        raise BadInput(f"input {_SHORT.repr(name)} of {_SHORT.repr(kind)}. Give {INPUT!r} of 'FP32'.")
    fits = isinstance(shape, list) and len(shape) == 4 and all(type(side) is int for side in shape)
    if not fits or shape[1:] != [3, *size] or not 1 <= shape[0] <= most:
        raise BadInput(f"shape {_SHORT.repr(shape)}. Give [n, 3, {size[0]}, {size[1]}], n from 1 to {most}.")
    values = _values(tensor, body[length:], math.prod(shape)).reshape(shape)
    if not np.isfinite(values).all():
        raise BadInput("the input holds NaN, infinity or more than float32 does. Give numbers.")
    identity = document.get("id")
    if not isinstance(identity, str | int | None):
        raise BadInput(f"id {_SHORT.repr(identity)}. Give a string, or leave it out.")
    return InferRequest(None if identity is None else str(identity), values, _wanted(document))


def _can_be_needed(text: bytes, most: tuple[int, int, int]) -> bool:
    """Whether a request for `most` (images, height, width) can be so long, and have so many numbers, lists and strings.
    Counted before it is parsed: a list of empty lists takes 25 times its bytes as Python's objects."""
    images, height, width = most
    numbers, lists = images * 3 * height * width, images * (3 * (height + 1) + 1)
    return (
        len(text) <= numbers * _BYTES_OF_NUMBER + _JSON_BESIDE
        and text.count(b",") <= numbers + 1000
        and text.count(b"[") + text.count(b"{") <= lists + 1000
        and text.count(b'"') <= 2000
    )


def _values(tensor: Json, binary: bytes, count: int) -> NDArray[np.float32]:
    try:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is not None:
            if size != len(binary) or size != 4 * count:
                raise ValueError(f"{len(binary)} bytes of {_SHORT.repr(size)}, {4 * count} wanted")
            return np.frombuffer(binary, "<f4").astype(np.float32, copy=False)
        with np.errstate(over="ignore"):
            found = np.asarray(tensor["data"], np.float32).reshape(-1)
        if found.size != count:
            raise ValueError(f"{found.size} numbers, {count} wanted")
        return found
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"the data of the input do not fit its shape: {str(error)[:200]}. Send them again."
        ) from None


def _wanted(document: Json) -> dict[str, bool]:
    try:
        whole = (document.get("parameters") or {}).get("binary_data_output") is True
        asked = document.get("outputs") or [{"name": name} for name in OUTPUTS]
        wanted = {
            each["name"]: bool((each.get("parameters") or {}).get("binary_data", whole)) for each in asked
        }
    except (KeyError, TypeError, AttributeError):
        raise BadInput("outputs or parameters are not as the protocol has them. Leave them out.") from None
    if unknown := [name for name in wanted if name not in OUTPUTS]:
        raise BadInput(f"output {_SHORT.repr(unknown[0])}. There are {', '.join(OUTPUTS)}.")
    return wanted


def write_answer(
    model: Model, request: InferRequest, logits: NDArray[np.float32]
) -> tuple[bytes, int | None]:
    """The body of the answer, and where its JSON ends; None where it is all JSON. Raises `BadInput` where the model has
    no numbers for the input."""
    if not np.isfinite(logits).all():
        raise BadInput(
            "the model's answer to this input is no number. Give values as preprocessing makes them."
        )
    outputs: list[Json] = []
    parts: list[bytes] = []
    for name, binary in request.outputs.items():
        values = logits if name == "logits" else np.stack([softmax(row) for row in logits]).astype(np.float32)
        entry: Json = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
        if binary:
            parts.append(np.ascontiguousarray(values, "<f4").tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = [float(value) for value in values.reshape(-1)]
        outputs.append(entry)
    document: Json = {"model_name": model.bundle.record.name, "model_version": MODEL_VERSION}
    document |= {"id": request.id} if request.id is not None else {}
    text = json.dumps(document | {"outputs": outputs}, allow_nan=False).encode()
    return b"".join([text, *parts]), len(text) if parts else None
