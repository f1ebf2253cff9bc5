"""The settings of a recipe before they are validated, from whatever names them: data, a recipe or a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_tl.device.errors import BadInput
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.builtin import find
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint

# What an export reads besides `export`: flips say which images calibrate.
EXPORT_USES = ("seed", "data.max_pixels", "augment.flip", "augment.preset")
INT8_ONLY = (
    "export.ladder",
    "export.time_budget_s",
    "export.target_cpu",
    "export.max_float",
    "export.selection_images",
)
SETTINGS = "settings"  # what an error calls values that are from no file


@dataclass(frozen=True)
class RecipeInput:
    """The settings of a recipe before they are validated.

    `source` names them in an error, and `typed` each field that was given beside them, as `name_of` calls it. `run` is
    the folder of the run that they are from, if they are.
    """

    settings: dict[str, Any]
    source: str
    run: Path | None = None
    typed: dict[str, str] = field(default_factory=dict)
    name_of: Callable[[str], str] = str

    def changed(self, values: Mapping[str, object], assignments: Sequence[str] | None = None) -> RecipeInput:
        """With the `values` that are not None, by recipe field, then the assignments of `--set`. Raises `BadInput`."""
        given = self.assigned({key: value for key, value in values.items() if value is not None})
        settings, typed = given.settings, given.typed
        for assignment in assignments or ():
            key = recipes.override(settings, assignment)
            typed[key] = f"--set {key}"
        return replace(self, settings=settings, typed=typed)

    def assigned(self, values: Mapping[str, object]) -> RecipeInput:
        """With all `values`, by recipe field; None is a value too. Raises `BadInput`."""
        settings = deepcopy(self.settings)
        for key, value in values.items():
            recipes.assign(settings, key, value)
        return replace(self, settings=settings, typed=self.typed | {key: self.name_of(key) for key in values})

    def refuse_unused(self) -> None:
        """Raises `BadInput` for what was typed and an export does not use: what belongs to the training, and what makes
        INT8 where none is asked for."""
        recipe = self.recipe()
        for key, name in self.typed.items():
            if not key.startswith("export.") and key not in EXPORT_USES:
                raise BadInput(
                    f"{name}: export does not use {key}, which is the training's. Leave it out, or fine-tune again."
                )
            if key in INT8_ONLY and not recipe.export.int8:
                raise BadInput(f"{name}: has no effect without INT8. Add --int8, or leave it out.")

    def recipe(self) -> Recipe:
        """Validated. Raises `BadInput` that names the option or the field."""
        return recipes.parse(self.settings, source=self.source, typed=self.typed)


def from_data(data_or_recipe: str | os.PathLike[str]) -> RecipeInput:
    """The settings of a recipe by file or name, of a run by its folder, or for a path of data. Raises `BadInput`."""
    text = os.fspath(data_or_recipe)
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return RecipeInput(recipes.read_settings(path), str(path))
    if (path / checkpoint.RECIPE).is_file():
        return RecipeInput(
            recipes.read_settings(path / checkpoint.RECIPE), str(path / checkpoint.RECIPE), path
        )
    if not path.exists() and (recipe := find(text)) is not None:
        return RecipeInput(recipes.read_settings(recipe), recipe.name)
    return RecipeInput({"data": {"path": text}}, SETTINGS)


def from_run(run: Path) -> RecipeInput:
    """The settings that a finished run was made with. Raises `BadInput`."""
    return RecipeInput(checkpoint.read_run(run).provenance.recipe, SETTINGS, run)
