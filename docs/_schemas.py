"""JSON Schemas of the documents that other programs read, generated from the types of the records.

`python docs/_schemas.py docs/schema` writes them; it writes nothing else. JSON Schema: draft 2020-12.
"""

from __future__ import annotations

import json
import math
import sys
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from edge_tl.device.records.codec import Bounds, Count, Pattern, Record, is_required, json_name

_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def schema_of(record: type[Record], title: str) -> dict[str, Any]:
    """The JSON Schema of a record; every record that it holds is a definition of it."""
    definitions: dict[str, Any] = {}
    body = _object(record, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(record: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(record, include_extras=True)
    inside = [each for each in fields(record) if each.metadata.get("key") != ""]
    properties = {json_name(each): _of(hints[each.name], definitions) for each in inside}
    required = [json_name(each) for each in inside if is_required(each) or each.metadata.get("written")]
    said = {"description": " ".join((record.__doc__ or "").split())}
    return said | {
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if origin is Annotated:
        return _of(inner[0], definitions) | _limits(inner[1:])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(part, definitions) for part in inner]}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0], definitions)}
    if origin is tuple:
        items = [_of(part, definitions) for part in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(inner), "maxItems": len(inner)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(inner[1], definitions)}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if hasattr(kind, "json_schema"):  # a class whose JSON is not an object of its fields
        return dict(kind.json_schema)
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # it may hold itself
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    return {"type": "object"}


def _limits(extras: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for extra in extras:
        if isinstance(extra, Bounds):
            found |= {} if math.isinf(extra.low) else {"minimum": extra.low}
            found |= {} if math.isinf(extra.high) else {"maximum": extra.high}
        elif isinstance(extra, Count):
            found |= {"minItems": extra.low} | ({} if extra.high is None else {"maxItems": extra.high})
        elif isinstance(extra, Pattern):
            found["description"] = extra.words
    return found


def documents() -> dict[str, type[Record]]:
    """The documents that have a schema, by the name of its file."""
    from edge_tl.device.records.bench import BenchResult
    from edge_tl.device.records.bundle import BundleRecord
    from edge_tl.device.records.tuned import TunedRecord
    from edge_tl.host.runs.record import RunRecord

    return {"bench": BenchResult, "bundle": BundleRecord, "run": RunRecord, "tuned": TunedRecord}


def write(folder: Path) -> list[Path]:
    """Write every schema below `folder`, as this version writes the documents; the paths of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, record in documents().items():
        path = folder / f"{name}.schema.json"
        text = json.dumps(schema_of(record, record.document), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write(Path(sys.argv[1]))
