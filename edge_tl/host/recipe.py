"""YAML to validated settings: every field has a type, a range and a real default; an unknown key is refused
with the nearest one. It must not read data or models.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_tl.target.errors import BadInput

Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where the images are and how they are split when the folder does not say."""

    path: str | None = None
    """A folder with one sub-folder per class, or with train/ and val/ (and test/) that hold them."""
    val: Fraction = 0.15
    """Fraction of each class kept for choosing (regularization), when there is no val/ folder."""
    test: Fraction = 0.15
    """Fraction of each class kept for the final figures, when the folder is not split at all."""
    on_bad_image: Literal["skip", "fail"] = "skip"


class Model(_Section):
    """What is fine-tuned, from where."""

    name: str = "mobilenet_v2"
    weights: str = "imagenet"
    """imagenet (downloaded), embedded (in the package), none, or a path to .safetensors or .pth."""
    image_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    """Side of the model's input in pixels; the weights' own when null."""
    resize: Literal["shorter", "exact"] = "shorter"
    """shorter: keep the aspect and crop the centre; exact: squeeze the whole image into the square."""


class Train(_Section):
    """How it is fine-tuned."""

    strategy: Literal["auto", "head", "lp-ft", "full"] = "auto"
    epochs: Annotated[int, Field(ge=1)] | None = None
    """For strategies that pass over the images; the head is solved to convergence and takes none."""


class Head(_Section):
    """The linear classifier on the frozen features."""

    C: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)] = [
        1e-4,
        3e-4,
        1e-3,
        3e-3,
        1e-2,
        3e-2,
        1e-1,
        1.0,
    ]
    """Inverse strengths of the L2 penalty to try; validation accuracy picks one."""
    max_iter: Annotated[int, Field(ge=1)] = 500


class Export(_Section):
    """What `export` makes and by what it is judged."""

    int8: bool = False
    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Largest accuracy drop from PyTorch, in percentage points: 0.5 means from 87.0 % to 86.5 %."""
    calibration_images: Annotated[int, Field(ge=1)] = 300
    golden_images: Annotated[int, Field(ge=4, le=256)] = 24


class Recipe(_Section):
    """Everything a run depends on."""

    name: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    head: Head = Head()
    export: Export = Export()


def parse(settings: dict[str, Any], *, source: str = "recipe") -> Recipe:
    """Validate nested settings. Raises `BadInput` that names the field, the value and the nearest key."""
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(_sentence(source, first)) from None


def load(path: Path) -> dict[str, Any]:
    """The raw settings of a YAML file, not yet validated. Raises `BadInput`."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no such recipe: {path}. See `edge-tl recipes ls`.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = str(error).replace("\n", " ")
        raise BadInput(f"{path} is not YAML: {where}. Check the indentation.") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise BadInput(f"{path}: a recipe is a mapping of settings, this holds a {type(settings).__name__}.")
    return settings


def override(settings: dict[str, Any], assignment: str) -> None:
    """Apply one `--set section.field=value` in place; the value is YAML. Raises `BadInput`."""
    key, equals, value = assignment.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set {assignment}: write it as section.field=value, e.g. --set head.max_iter=100.")
    try:
        assign(settings, key.strip(), yaml.safe_load(value))
    except yaml.YAMLError:
        raise BadInput(f"--set {assignment}: {value!r} is not a YAML value.") from None
    except BadInput as error:
        raise BadInput(f"--set {assignment}: {error}") from None


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


def _sentence(source: str, error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    if error["type"] == "extra_forbidden":
        fields = _fields(location[:-1])
        lowered = {name.lower(): name for name in fields}
        near = difflib.get_close_matches(location[-1].lower(), lowered, n=1, cutoff=0.0)
        near = [lowered[name] for name in near]
        return f"{source}: unknown key {name!r}. Nearest: {'.'.join([*location[:-1], *near])!r}."
    value = error["input"]
    hint = ""
    if name == "export.max_drop" and isinstance(value, float | int) and not math.isnan(value):
        hint = f" {value} was read as {value:g} percentage points."
    return f"{source}: {name} = {value!r}: {error['msg']}.{hint} See `edge-tl recipes ls` for examples."


def _fields(sections: list[str]) -> list[str]:
    model: Any = Recipe
    for section in sections:
        annotation = model.model_fields[section].annotation
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            annotation = typing.get_args(annotation)[0]
        model = annotation
    return list(model.model_fields)
