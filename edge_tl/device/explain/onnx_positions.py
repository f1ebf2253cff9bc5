"""A second output for an ONNX file, at run time and without the onnx package: the head's answer at every position.

The file stays as it is. A protocol buffer that follows another one is merged with it (protobuf.dev, Encoding, "Last One
Wins"): what is appended here are the nodes after the last pooling once more, which read each position of the last
feature map in place of the mean of all. Runs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_tl.device.model_metadata import GRAPH, MOST_FIELDS, onnx_fields, onnx_graph_fields

POSITIONS, GRID = "edge_tl_positions", "edge_tl_grid"
"""The added outputs: float32 `(h * w, classes)`, and int64 `(1, channels, h, w)`, the shape of the feature map."""

_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # of onnx.proto: a graph's fields
_READS, _GIVES, _NAME, _OPERATOR, _ATTRIBUTE = 1, 2, 3, 4, 5  # of a node
_INT64 = 7  # of TensorProto.DataType
_SPATIAL = ([2, 3], [-2, -1])
_WITH_GRAPHS = ("If", "Loop", "Scan")  # what these read is not among their inputs alone


@dataclass(frozen=True)
class _Node:
    """`fields` are all of them as they are: number and content."""

    operator: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    fields: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class _Graph:
    """`images` is the input that is no constant; `numbers` are constants of whole numbers, by name."""

    nodes: tuple[_Node, ...]
    images: str
    logits: str
    numbers: Mapping[str, list[int]]


def with_positions(content: bytes) -> tuple[bytes, str] | None:
    """The ONNX file `content` with the outputs `POSITIONS` and `GRID`, and the name of its logits; for one image a
    call. None where the logits do not hang on one mean over height and width. Raises `ValueError` for what is no ONNX
    file.

    Activations of the repeated nodes are not rounded: the scales of an INT8 head fit means, and would cut what a single
    position holds.
    """
    graph = _read(content)
    found = _pooling(graph)
    if graph is None or found is None:
        return None
    pool, tail = found
    features, pooled = pool.reads[0], pool.gives[0]
    renamed = {pooled: f"{POSITIONS}/features"} | _unrounded(tail, pooled)
    # (1, c, h, w) -> (1, c, h * w) -> (h * w, c, 1), and as the mean has it: (h * w, c, 1, 1), or (h * w, c)
    flat = [0, -1] if _drops_dimensions(pool) else [0, 0, 1, -1]
    added = [
        _node("Reshape", [features, f"{POSITIONS}/line"], [f"{POSITIONS}/of_line"]),
        _node("Transpose", [f"{POSITIONS}/of_line"], [f"{POSITIONS}/each"], _ints("perm", [2, 1, 0])),
        _node("Reshape", [f"{POSITIONS}/each", f"{POSITIONS}/flat"], [renamed[pooled]]),
    ]
    for node in tail:
        if node.gives[0] in renamed:  # a rounding that is left out
            continue
        gives = {name: f"{POSITIONS}:{name}" for name in node.gives}
        added.append(_again(node, {name: _last(renamed, name) for name in node.reads}, gives))
        renamed |= gives
    added += [
        _node("Identity", [_last(renamed, graph.logits)], [POSITIONS]),
        _node("Shape", [features], [GRID]),
    ]
    more = b"".join(_field(_NODE, node) for node in added)
    more += _field(_INITIALIZER, _whole_numbers(f"{POSITIONS}/line", [0, 0, -1]))
    more += _field(_INITIALIZER, _whole_numbers(f"{POSITIONS}/flat", flat))
    more += b"".join(_field(_OUTPUT, _field(1, name.encode())) for name in (POSITIONS, GRID))
    return content + _field(GRAPH, more), graph.logits


def _read(content: bytes) -> _Graph | None:
    """None for a graph that has not one input and one output."""
    nodes: list[_Node] = []
    inputs: list[str] = []
    outputs: list[str] = []
    numbers: dict[str, list[int]] = {}
    left = iter(range(MOST_FIELDS))
    for kind, start, end in onnx_graph_fields(content, left):
        if kind == _NODE:
            parts = onnx_fields(content, start, end, left)
            nodes.append(_parsed([(field, content[c:d]) for field, c, d in parts]))
        elif kind in (_INPUT, _OUTPUT):
            parts = onnx_fields(content, start, end, left)
            names = [content[c:d].decode(errors="replace") for field, c, d in parts if field == 1]
            (inputs if kind == _INPUT else outputs).extend(names)
        elif kind == _INITIALIZER and end - start < 512:
            name, values = _constant(content[start:end])
            numbers[name] = values
    if len(inputs) != 1 or len(outputs) != 1:
        return None
    return _Graph(tuple(nodes), inputs[0], outputs[0], numbers)


def _parsed(fields: Sequence[tuple[int, bytes]]) -> _Node:
    def texts(number: int) -> tuple[str, ...]:
        return tuple(value.decode(errors="replace") for field, value in fields if field == number)

    return _Node("".join(texts(_OPERATOR)), texts(_READS), texts(_GIVES), tuple(fields))


def _constant(tensor: bytes) -> tuple[str, list[int]]:
    """Name and values of a tensor of whole numbers; no values where it is another."""
    name, kind, raw = "", 0, b""
    for number, a, b in onnx_fields(tensor, 0, len(tensor), iter(range(99))):
        if number == 2:
            kind = a
        elif number == 8:
            name = tensor[a:b].decode(errors="replace")
        elif number == 9:
            raw = tensor[a:b]
    whole = kind == _INT64 and len(raw) % 8 == 0
    return name, [value for (value,) in struct.iter_unpack("<q", raw)] if whole else []


def _pooling(graph: _Graph | None) -> tuple[_Node, list[_Node]] | None:
    """The last mean over height and width on which all of the logits hang, and the nodes from there to them."""
    if graph is None:
        return None
    live = {graph.images}  # what depends on the images
    makers: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        if live.intersection(node.reads):
            live.update(node.gives)
            makers |= dict.fromkeys(node.gives, place)
    for node in reversed(graph.nodes):
        if node.reads and node.reads[0] in live and _is_global_mean(node, graph.numbers):
            tail = _between(graph, makers, node.gives[0])
            if tail is not None:
                return node, tail
    return None


def _between(graph: _Graph, makers: Mapping[str, int], start: str) -> list[_Node] | None:
    """The nodes from `start` to the logits, in their order; None where the logits have another way to the images."""
    wanted, found = [graph.logits], set()
    while wanted:
        name = wanted.pop()
        if name == graph.images:
            return None
        if name == start or name not in makers or makers[name] in found:
            continue
        found.add(makers[name])
        wanted += graph.nodes[makers[name]].reads
    tail = [graph.nodes[place] for place in sorted(found)]
    return None if any(node.operator in _WITH_GRAPHS for node in tail) else tail


def _is_global_mean(node: _Node, numbers: Mapping[str, list[int]]) -> bool:
    if node.operator == "GlobalAveragePool":
        return True
    if node.operator != "ReduceMean":
        return False
    axes = numbers.get(node.reads[1], []) if len(node.reads) > 1 else _attribute(node, "axes")
    return sorted(axes) in _SPATIAL


def _drops_dimensions(pool: _Node) -> bool:
    return pool.operator == "ReduceMean" and _attribute(pool, "keepdims") == [0]


def _attribute(node: _Node, name: str) -> list[int]:
    """Whole numbers of an attribute, one or several; none where the node has no such attribute."""
    for number, content in node.fields:
        if number != _ATTRIBUTE:
            continue
        found: list[int] = []
        named = ""
        for field, a, b in onnx_fields(content, 0, len(content), iter(range(999))):
            if field == 1:
                named = content[a:b].decode(errors="replace")
            elif field in (3, 8):  # i, and ints one at a time, start and end then being the number; or packed
                found += list(content[a:b]) if field == 8 and b > a else [a]
        if named == name:
            return [value - (1 << 64) if value >> 63 else value for value in found]
    return []


def _unrounded(tail: Sequence[_Node], pooled: str) -> dict[str, str]:
    """What a DequantizeLinear gives, and its QuantizeLinear, by the name of what was rounded; a QuantizeLinear that
    another operator reads too stays."""
    made = {pooled, *(name for node in tail for name in node.gives)}
    found: dict[str, str] = {}
    for node in tail:
        if node.operator == "QuantizeLinear" and made.intersection(node.reads[:1]):
            readers = [other for other in tail if node.gives[0] in other.reads]
            if all(reader.operator == "DequantizeLinear" for reader in readers):
                found |= {name: node.reads[0] for each in (node, *readers) for name in each.gives}
    return found


def _last(renamed: Mapping[str, str], name: str) -> str:
    """Through all roundings that are left out."""
    for _ in range(len(renamed) + 1):
        if name not in renamed:
            return name
        name = renamed[name]
    raise ValueError("its nodes go in a circle")


def _again(node: _Node, reads: Mapping[str, str], gives: Mapping[str, str]) -> bytes:
    """The node once more, without its name, which no two nodes may share; empty names are no names."""

    def renamed(number: int, content: bytes) -> bytes:
        name = content.decode(errors="replace")
        if number == _READS:
            return reads[name].encode()
        if number == _GIVES:
            return gives[name].encode()
        return content

    return b"".join(
        _field(number, renamed(number, content)) for number, content in node.fields if number != _NAME
    )


def _node(operator: str, reads: Iterable[str], gives: Iterable[str], attribute: bytes = b"") -> bytes:
    texts = [*((_READS, name) for name in reads), *((_GIVES, name) for name in gives), (_OPERATOR, operator)]
    return b"".join(_field(number, text.encode()) for number, text in texts) + attribute


def _ints(name: str, values: Sequence[int]) -> bytes:
    """An attribute of whole numbers."""
    content = _field(1, name.encode()) + b"".join(_number(8, value) for value in values)
    return _field(_ATTRIBUTE, content + _number(20, _INT64))  # 20: its type, and INTS is 7 there too


def _whole_numbers(name: str, values: Sequence[int]) -> bytes:
    """A constant of one dimension."""
    raw = struct.pack(f"<{len(values)}q", *values)
    return _number(1, len(values)) + _number(2, _INT64) + _field(8, name.encode()) + _field(9, raw)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
