"""The functions behind finetune and export, which take data or a recipe by name; `import edge_tl` has them.

Prints nothing.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.listener import SILENT, Listener

if TYPE_CHECKING:
    from edge_tl.host.recipe.schema import Recipe
    from edge_tl.host.runs.result import RunResult

AnyPath = str | os.PathLike[str]


def finetune(
    data_or_recipe: AnyPath | Recipe,
    out: AnyPath | None = None,
    *,
    settings: Mapping[str, object] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> RunResult:
    """Fine-tune a classifier: from a folder of images, a list, shards, a recipe by file or name, or a run's folder.

    `settings` are recipe fields by name, e.g. `{"model.name": "resnet18", "train.epochs": 3}`; None is the default,
    where a field has None. The run is written to
    `out`, by default `runs/NAME`. Raises `BadInput`, and `MissingExtra` without the extra `host`.
    """
    _need_pytorch("finetune")
    from edge_tl.host.models import zoo
    from edge_tl.host.recipe.recipe_input import from_data
    from edge_tl.host.recipe.schema import Recipe
    from edge_tl.host.training import finetune as training

    folder = None if out is None else Path(out)
    if isinstance(data_or_recipe, Recipe):
        recipe = data_or_recipe
        if settings:
            raise BadInput("settings change a recipe that is named. A Recipe has its own: change those.")
    else:
        given = from_data(data_or_recipe).assigned(settings or {})
        recipe, folder = given.recipe(), folder or given.run
    zoo.check_model_name(recipe.model.name)  # before a file is read
    return training.finetune(recipe, folder, resumed=resume, overwrite=overwrite, listener=listener)


def export(
    run: AnyPath,
    out: AnyPath | None = None,
    *,
    settings: Mapping[str, object] | None = None,
    thorough: bool = False,
    factory: str | None = None,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> Bundle:
    """Export a run to ONNX and OpenVINO and check it against PyTorch; the bundle that is written.

    `settings` are recipe fields by name, e.g. `{"export.int8": True, "export.max_drop": 1.0}`. The bundle is written to
    `out`, by default `exported/NAME`. A gate that fails is in its record, `passed` is false. `thorough` times long
    enough for a p99. `factory`, `package.module:function`, is your own code that makes the model of an imported run: a
    record alone may not start it. Raises `BadInput`, and `MissingExtra` without the extra `host`.
    """
    _need_pytorch("export")
    from edge_tl.device.bench.effort import QUICK, THOROUGH
    from edge_tl.host.export import pipeline
    from edge_tl.host.models import factories
    from edge_tl.host.recipe.recipe_input import from_run

    given = from_run(Path(run)).assigned(settings or {})
    given.refuse_unused()
    recipe = given.recipe()
    with factories.permitted(factory):
        record = pipeline.export(
            Path(run),
            None if out is None else Path(out),
            recipe,
            effort=THOROUGH if thorough else QUICK,
            overwrite=overwrite,
            listener=listener,
        )
    return read_bundle(Path(record["bundle"]))


def _need_pytorch(function: str) -> None:
    if not importlib.util.find_spec("torch"):
        raise MissingExtra(f"PyTorch, which {function} needs,", "host")
