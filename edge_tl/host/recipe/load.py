"""YAML to validated settings: an unknown key is refused with the nearest one, a bad value with its field.

Reads no data and no models; the fields themselves are in `schema`.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable
from edge_tl.host.recipe import plain_yaml
from edge_tl.host.recipe.field_errors import needed
from edge_tl.host.recipe.schema import FACTORY, Recipe


def parse(
    settings: dict[str, Any], *, source: str = "recipe", typed: Mapping[str, str] = types.MappingProxyType({})
) -> Recipe:
    """Validate nested settings. Raises `BadInput` that names the field, the value and the nearest key; of a field in
    `typed`, what was typed for it."""
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(_sentence(source, first, typed)) from None


def read_settings(path: Path) -> dict[str, Any]:
    """The raw settings of a YAML file, not yet validated. Raises `BadInput`."""
    if not path.exists():
        raise BadInput(f"no such recipe: {printable(str(path))}. See `edge-tl recipes ls`.")
    settings = plain_yaml.read_yaml(path, "recipe")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise BadInput(f"{path}: a recipe is a mapping of settings, this holds a {type(settings).__name__}.")
    _refuse_code(settings, path)
    return settings


def override(settings: dict[str, Any], assignment: str) -> str:
    """Apply one `--set section.field=value` in place; the value is YAML. Returns `section.field`. Raises `BadInput`."""
    key, equals, value = assignment.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set {assignment}: write it as section.field=value, e.g. --set head.max_iter=100.")
    try:
        assign(settings, key.strip(), plain_yaml.parse_yaml(value, f"{value!r}"))
    except plain_yaml.NotYaml:
        raise BadInput(f"--set {assignment}: {value!r} is not a YAML value.") from None
    except BadInput as error:
        raise BadInput(f"--set {assignment}: {error}") from None
    return key.strip()


def assign(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.field` in place; an empty section is made one. Raises `BadInput` where a value stands instead."""
    *sections, field = key.split(".")
    for section in sections:
        inner = settings.setdefault(section, {})
        if inner is None:
            inner = settings[section] = {}
        if not isinstance(inner, dict):
            raise BadInput(
                f"{section}: {inner!r} is a value, {key} needs a section. Write it as {section}: {{…}}."
            )
        settings = inner
    settings[field] = value


def _refuse_code(settings: dict[str, Any], path: Path) -> None:
    """A recipe may be somebody else's, so it names no code."""
    model = settings.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    if isinstance(name, str) and name.strip().startswith(FACTORY):
        raise BadInput(
            f"{path}: model.name = {printable(name)!r} names code, which a file may not. A factory is given on the "
            "command line alone: --factory package.module:function."
        )


def _sentence(source: str, error: Any, typed: Mapping[str, str]) -> str:
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    option = next((typed[key] for key in typed if f"{name}.".startswith(f"{key}.")), None)
    if option and option.startswith("--set "):  # which may have been given the whole section
        option = f"--set {name}"
    if error["type"] == "extra_forbidden":
        fields = _fields(location[:-1])
        lowered = {name.lower(): name for name in fields}
        near = difflib.get_close_matches(location[-1].lower(), lowered, n=1, cutoff=0.0)
        near = [lowered[name] for name in near]
        return f"{option or source}: unknown key {name!r}. Nearest: {'.'.join([*location[:-1], *near])!r}."
    value = error["input"]
    hint = ""
    if name == "export.max_drop" and isinstance(value, float | int) and not math.isnan(value):
        hint = f" {value} was read as {value:g} percentage points."
    if option:
        return f"{option}={value}: {needed(error)}.{hint}"
    return f"{source}: {name} = {value!r}: {needed(error)}.{hint} See `edge-tl recipes ls` for examples."


def _fields(sections: list[str]) -> list[str]:
    model: Any = Recipe
    for section in sections:
        annotation = model.model_fields[section].annotation
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            annotation = typing.get_args(annotation)[0]
        model = annotation
    return list(model.model_fields)
