"""The JSON Schemas say of a document what its record says when it reads it."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest

from edge_tl.device.errors import BundleError
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.codec import Bounds, Count, Record, json_key, written

REPOSITORY = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("schemas", REPOSITORY / "docs" / "_schemas.py")
assert _spec is not None
assert _spec.loader is not None
schemas = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(schemas)
documents, schema_of, write = schemas.documents, schemas.schema_of, schemas.write


@dataclass(frozen=True)
class Leaf(Record):
    """A leaf."""

    n: Annotated[int, Bounds(0, 9)]
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Tree(Record):
    """A tree of leaves."""

    leaves: Annotated[tuple[Leaf, ...], Count(1)]
    contract: Preprocess
    sizes: dict[str, float]
    strength: float | None = json_key("C", None)
    judged: bool = written(True)


TREE = Tree((Leaf(1), Leaf(2, (0.5, 1.0))), Preprocess(), {"a": 1.0}, 2.0)


def test_a_written_record_is_valid() -> None:
    schema = schema_of(Tree, "tree.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(TREE.to_json())), schema)
    assert schema["$defs"]["Leaf"]["description"] == "A leaf."
    assert "max_pixels" not in schema["$defs"]["Preprocess"]["properties"]


@pytest.mark.parametrize(
    "change",
    [
        {"leaves": []}, {"leaves": [{}]}, {"leaves": [{"n": 10}]}, {"leaves": [{"n": 1, "ends": [1]}]},
        {"sizes": {"a": "b"}},
        {"C": "x"}, {"judged": 1}, {"contract": {"mean": 1}},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_record_refuses(change: dict[str, Any]) -> None:
    value = TREE.to_json() | change
    with pytest.raises(BundleError):
        Tree.from_json(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema_of(Tree, "tree.json"))


def test_the_published_schemas_are_of_todays_records(tmp_path: Path) -> None:
    """`python docs/_schemas.py docs/schema` writes them again."""
    published = REPOSITORY / "docs" / "schema"
    for path in write(tmp_path):
        assert path.read_text("utf-8") == (published / path.name).read_text("utf-8"), path.name
    assert {path.name for path in published.glob("*.json")} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", documents())
def test_a_schema_is_one(name: str) -> None:
    schema = schema_of(documents()[name], name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"]


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "tests" / "records").glob("bundle-of-version-2/bundle.json")), ids=str
)
def test_a_bundle_of_this_version_is_valid(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text("utf-8")), schema_of(documents()["bundle"], "bundle.json"))


def test_a_run_and_a_bundle_made_here_are_valid(run: Path, bundle: Path) -> None:
    for path, name in (
        (run / "run.json", "run"),
        (bundle / "bundle.json", "bundle"),
        (bundle / "report.json", "bundle"),
    ):
        jsonschema.validate(json.loads(path.read_text("utf-8")), schema_of(documents()[name], path.name))


def test_a_bench_result_is_valid() -> None:
    """One of version 1, read and written again: what this version writes has all of its keys."""
    stored = json.loads((REPOSITORY / "tests" / "records" / "version-1" / "bench.json").read_text("utf-8"))
    result = documents()["bench"].from_json(stored).to_json()
    jsonschema.validate(json.loads(json.dumps(result)), schema_of(documents()["bench"], "bench.json"))


def test_a_pick_is_valid(tmp_path: Path) -> None:
    """What a machine wrote, read and written again."""
    stored = json.loads((REPOSITORY / "tests" / "records" / "tuned.json").read_text("utf-8"))
    result = documents()["tuned"].from_json(stored).to_json()
    assert result == stored
    jsonschema.validate(result, schema_of(documents()["tuned"], "tuned.json"))
