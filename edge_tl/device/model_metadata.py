"""What a model file says of itself, without a runtime: the labels and the contract that `export` wrote into it, and
whether it reads other files.

It must not load a model. An ONNX file is walked through by its lengths, as protocol buffers are written; an IR is
parsed as XML.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from edge_tl.device.errors import BundleError
from edge_tl.device.records.image_input import InputKind

KEY = "edge_tl"
PRECISE = "session.x64quantprecision"
"""ONNX Runtime's session option for x86 without VNNI, and the key in the metadata of an INT8 ONNX file that says
whether the file needs it: "1", or "0" where no sum of its products can saturate."""
_MOST_JSON = 16 << 20
_MOST_XML = 256 << 20
_DEPTH = 32  # of graphs in graphs
MOST_FIELDS = (
    2 << 20
)  # of an ONNX file; a big one has some ten thousand, and more take minutes to walk through

GRAPH = 7  # of a model's fields in onnx.proto
Buffer = mmap.mmap | bytes


# What of onnx.proto can hold a tensor: message -> {field number: message}.
_MESSAGES = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
}
_METADATA, _EXTERNAL, _LOCATION = 14, 13, 14
_INPUT, _TYPE, _TENSOR, _ELEMENT, _UINT8 = 11, 2, 1, 1, 2  # the way to the type of a graph's input


class ModelFacts(NamedTuple):
    """`said` is `{labels, preprocess}` as `export` wrote it into the file, None where it says nothing; `input` what the
    model takes: raw pixels where its first input is of uint8."""

    said: dict[str, Any] | None
    input: InputKind


def facts_of(path: Path) -> ModelFacts:
    """What the model file at `path`, `.onnx` or `.xml`, says of itself.

    Raises `BundleError` for an ONNX file whose structure cannot be read, and for one with weights in other files: no
    hash of the bundle covers them. An IR that is no XML says nothing.
    """
    try:
        text, pixels = (_of_onnx(path), _onnx_takes_bytes(path)) if path.suffix == ".onnx" else _of_ir(path)
    except (ValueError, OSError) as error:
        raise BundleError(f"cannot load {path.name}: {error}. Copy or export it again.") from None
    kind: InputKind = "image" if pixels else "tensor"
    if text is None:
        return ModelFacts(None, kind)
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise BundleError(f"{path}: its metadata {KEY!r} is no JSON object. Copy or export it again.")
    return ModelFacts(facts, kind)


def session_option(path: Path, name: str) -> str | None:
    """The value that the ONNX file at `path` gives for ONNX Runtime's session option `name` in its metadata; None where
    it gives none, or cannot be read."""
    try:
        return _of_onnx(path, name)
    except (ValueError, OSError):
        return None


def _of_onnx(path: Path, *keys: str) -> str | None:
    wanted = [key.encode() for key in keys or (KEY, f"model_info {KEY}")]
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        left = iter(range(MOST_FIELDS))
        _only_inside(content, 0, len(content), "Model", 0, left)
        found = []
        for number, start, end in onnx_fields(content, 0, len(content), left):
            if number == _METADATA:
                entry = {field: content[a:b] for field, a, b in onnx_fields(content, start, end, left)}
                if entry.get(1) in wanted:
                    found.append(entry.get(2, b""))
        if len(found) > 1 or any(len(text) > _MOST_JSON for text in found):
            raise ValueError(f"it has more than one {(*keys, KEY)[0]!r} in its metadata, or a huge one")
        return found[0].decode() if found else None


def _onnx_takes_bytes(path: Path) -> bool:
    """Whether the first input of the graph is of uint8. Raises `ValueError` for what is no ONNX file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        left = iter(range(MOST_FIELDS))
        for number, start, end in onnx_graph_fields(content, left):
            if number == _INPUT:
                return _element_type(content, start, end, (_TYPE, _TENSOR, _ELEMENT), left) == _UINT8
    return False


def _element_type(content: Buffer, start: int, end: int, way: tuple[int, ...], left: Iterator[int]) -> int:
    """The number at the end of a `way` of fields, of several the last, as a runtime's reader takes it; 0 without."""
    found = 0
    for number, a, b in onnx_fields(content, start, end, left):
        if number == way[0]:
            found = a if len(way) == 1 else _element_type(content, a, b, way[1:], left)
    return found


def _only_inside(
    content: Buffer, start: int, end: int, message: str, depth: int, left: Iterator[int]
) -> None:
    """Raises `ValueError` for a tensor that lies in another file."""
    if depth > _DEPTH:
        raise ValueError(f"its graphs are nested more than {_DEPTH} deep")
    for number, a, b in onnx_fields(content, start, end, left):
        if message == "Tensor":
            if number == _EXTERNAL or (number == _LOCATION and a != 0):
                raise ValueError("it has weights in another file, which no hash of the bundle covers")
        elif below := _MESSAGES[message].get(number):
            _only_inside(content, a, b, below, depth + 1, left)


def onnx_graph_fields(content: Buffer, left: Iterator[int]) -> Iterator[tuple[int, int, int]]:
    """`onnx_fields` of the graph in an ONNX file, not of those that a Loop holds. Raises `ValueError` as they do."""
    for number, start, end in onnx_fields(content, 0, len(content), left):
        if number == GRAPH:
            yield from onnx_fields(content, start, end, left)


def onnx_fields(content: Buffer, start: int, end: int, left: Iterator[int]) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every field of a message; of a number that is no bytes, the number twice. `left` has an
    item for each field that may still be read. Raises `ValueError` for what is no protocol buffer."""
    at = start
    while at < end:
        if next(left, None) is None:
            raise ValueError(f"it has more than {MOST_FIELDS} fields")
        key, at = _varint(content, at, end)
        if key >= 1 << 32:  # of which a runtime's reader keeps 32 bits: another field than was read here
            raise ValueError("it is no ONNX file")
        kind, number = key & 7, key >> 3
        if kind == 0:
            value, at = _varint(content, at, end)
            yield number, value, value
            continue
        size, at = _varint(content, at, end) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if not 0 <= size <= end - at or not number:
            raise ValueError("it is no ONNX file")
        if kind == 2:
            yield number, at, at + size
        at += size


def _varint(content: Buffer, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no ONNX file")


def _of_ir(path: Path) -> tuple[str | None, bool]:
    """The metadata, and whether the first input is of uint8."""
    if path.stat().st_size > _MOST_XML:
        raise ValueError(f"an IR of more than {_MOST_XML >> 20} MB")
    found: list[str] = []
    inputs: list[str] = []
    inside: list[str] = []
    layer = [""]

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        if inside == ["net", "rt_info", "model_info", KEY]:
            found.append(attributes.get("value", ""))
        elif inside == ["net", "layers", "layer"]:
            layer[0] = attributes.get("type", "")
        elif layer[0] == "Parameter" and inside == ["net", "layers", "layer", "data"]:
            inputs.append(attributes.get("element_type", ""))

    def stop(name: str) -> None:
        inside.pop()

    def declared(*_: object) -> None:
        raise ValueError("an IR with a document type, which none needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, stop
    parser.StartDoctypeDeclHandler = declared
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError:
        return None, False
    if len(found) > 1:
        raise ValueError(f"it has more than one {KEY!r} in its metadata")
    return found[0] if found else None, inputs[:1] == ["u8"]
