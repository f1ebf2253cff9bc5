"""The verb import: a classifier that was trained elsewhere becomes a run. It needs the `host` extra."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, MaxPixels
from edge_tl.cli._recipe_options import DEFAULTS, Out, Overwrite, Seed, Settings, tell_recipe, typed_settings
from edge_tl.device.errors import BadInput

Weights = Annotated[Path, typer.Argument(help="A whole classifier's state dict: .safetensors, .pth or .pt.")]
Data = Annotated[str, typer.Option(help="Labelled images to evaluate it on, as for finetune.")]
Model = Annotated[
    str | None, typer.Option(help="Its architecture: a name of `edge-tl models`, or timm:NAME.")
]
Factory = Annotated[
    str | None,
    typer.Option(help="Or package.module:function, which returns the untrained torch.nn.Module."),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        show_default=DEFAULTS["model.image_size"],
        help="Side of the input in pixels, the shorter side resized to it; else as published.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        show_default=DEFAULTS["labels"],
        help="One label a line, in the order of the outputs; else the sorted folders.",
    ),
]
Reorder = Annotated[
    bool, typer.Option("--reorder", help="Match labels and folders by name where their order differs.")
]
Match = Annotated[
    str,
    typer.Option(
        help="name, or order: tensors of other names, of the same shapes in the same order, are taken."
    ),
]


def import_(
    weights: Weights,
    data: Data,
    model: Model = None,
    factory: Factory = None,
    image_size: ImageSize = None,
    labels: Labels = None,
    reorder: Reorder = False,
    max_pixels: MaxPixels = None,
    match: Match = "name",
    seed: Seed = None,
    out: Out = None,
    overwrite: Overwrite = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Make a run of a classifier that was trained elsewhere."""
    from edge_tl.cli._run_text import accuracy_line
    from edge_tl.cli._training_listeners import open_training_listener
    from edge_tl.host.models import importing, zoo

    if (model is None) == (factory is None):
        raise BadInput("give the architecture: either --model NAME or --factory package.module:function.")
    fields = {
        "data.path": data,
        "data.max_pixels": max_pixels,
        "model.name": model or f"{zoo.FACTORY}{factory}",
        "model.weights": str(weights),
        "model.image_size": image_size,
        "seed": seed,
    }
    recipe = typed_settings({}).changed(fields, set_).recipe()
    tell_recipe(recipe)
    with open_training_listener() as listener:
        options = importing.ImportOptions(labels, reorder, match)
        result = importing.import_classifier(
            weights, recipe, out, options=options, overwrite=overwrite, listener=listener
        )
    record, folder = result.record, result.run
    return finish(
        result.to_json(),
        f"{folder}: {record.model}, {len(record.labels)} classes\n"
        f"{accuracy_line(record.metrics)}; {record.seconds.total:.1f} s",
        as_json=json,
        then=f"next: edge-tl export {quote(str(folder))} --int8"
        + (f" --factory {quote(factory)}" if factory else ""),
    )
