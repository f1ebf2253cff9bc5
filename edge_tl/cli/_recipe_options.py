"""From what a person typed to a recipe: the data, recipe or run that is named, then the options, then `--set`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._console import detail
from edge_tl.cli._options import duration_s
from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Json

if TYPE_CHECKING:
    from edge_tl.host.recipe.recipe_input import RecipeInput
    from edge_tl.host.recipe.schema import Recipe

Out = Annotated[Path | None, typer.Option("--out", "-o", help="The folder that the result becomes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is finished in that folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe field, e.g. head.max_iter=100; repeatable."),
]
# What an option that is not given becomes, unless the recipe or the run says otherwise: for --help, which imports
# neither pydantic nor PyTorch. A test compares them with the recipe's defaults.
DEFAULTS = {
    "model.name": "mobilenet_v2",
    "model.weights": "imagenet",
    "model.image_size": "the weights' own",
    "data.group_by": "none",
    "data.folds": "none",
    "train.strategy": "auto",
    "train.epochs": "the strategy's own, 6 to 10",
    "train.batch_size": "32",
    "train.lr": "the optimizer's own, adamw's 0.0005",
    "augment.preset": "light",
    "seed": "0",
    "export.int8": "no-int8",
    "export.max_drop": "0.5",
    "export.ladder": "up-to=5",
    "export.time_budget_s": "none",
    "export.target_cpu": "any",
    "export.device_profile": "any",
    "export.input": "tensor",
    "export.precisions": "none",
    "export.threshold": "none",
    "export.max_p95_ms": "none",
    "export.max_size_mb": "none",
    "labels": "the sorted folders",
    "none": "none",
    "all": "all",
}

Seed = Annotated[
    int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
]
# Options whose name is not that of the field that they set.
_OPTIONS = {
    "model.name": "--model",
    "augment.preset": "--augment",
    "export.precisions": "--precision",
    "export.time_budget_s": "--time-budget",
    "export.max_p95_ms": "--max-p95",
    "export.max_size_mb": "--max-size",
}


def permit_factory(factory: str | None) -> None:
    """Allow code of `factory` to make the model of a run."""
    if factory is None:  # a device has no host part to import
        return
    from edge_tl.host.models import factories
    from edge_tl.host.recipe.schema import FACTORY

    factories.permit_factory(f"{FACTORY}{factory}")


def ladder_rung(text: str | None) -> int | None:
    """3 for `--ladder up-to=3`. Raises `BadInput`."""
    if text is None:
        return None
    found = re.fullmatch(r"up-to=([1-5])", text)
    if not found:
        raise BadInput(f"--ladder {text}: write it as up-to=N with N from 1 to 5.")
    return int(found[1])


def time_budget_s(text: str | None) -> float | None:
    """600.0 for `--time-budget 10m`; the units are s, m and h. Raises `BadInput`."""
    return duration_s("--time-budget", text)


def typed_settings(settings: Json, source: str = "options") -> RecipeInput:
    """Settings whose fields an error calls by their options."""
    from edge_tl.host.recipe.recipe_input import RecipeInput

    return RecipeInput(settings, source, name_of=_option)


def data_settings(data_or_recipe: str) -> RecipeInput:
    """The settings of a recipe by file or name, of a run by its folder, or for a path of data. Raises `BadInput`."""
    from edge_tl.host.recipe import recipe_input

    given = recipe_input.from_data(data_or_recipe)
    source = "options" if given.source == recipe_input.SETTINGS else given.source
    return replace(given, source=source, name_of=_option)


def run_settings(run: Path) -> RecipeInput:
    """The settings that a finished run was made with. Raises `BadInput`."""
    from edge_tl.host.recipe import recipe_input

    return replace(recipe_input.from_run(run), source="--set", name_of=_option)


def tell_recipe(recipe: Recipe) -> Recipe:
    """`recipe`; with -v after every setting of it was told, given or not."""
    for section, fields in recipe.model_dump(mode="json").items():
        named = fields.items() if isinstance(fields, dict) else [(None, fields)]
        said = ", ".join(f"{key}={value}" if key else str(value) for key, value in named)
        detail(f"settings, {section}: {said}")
    return recipe


def _option(field: str) -> str:
    """The option that sets a recipe field."""
    return _OPTIONS.get(field) or f"--{field.rpartition('.')[2].replace('_', '-')}"
