"""The options of the verb compare, as typer shows and parses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._recipe_options import DEFAULTS

DataOrRecipe = Annotated[
    str,
    typer.Argument(help="A folder of images, a .csv list, .tar shards, a .yaml recipe, or a recipe's name."),
]
Models = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["model.name"], help="Names with commas between; see `edge-tl models`."
    ),
]
Strategies = Annotated[
    str, typer.Option(help="Of auto, head, partial, full, lp-ft, gradual; with commas between.")
]
Lrs = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["train.lr"],
        help="Peak learning rates, e.g. 1e-3,4e-3,1e-2; a head needs none.",
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        show_default=DEFAULTS["model.weights"],
        help="imagenet, embedded, none or a path; MODEL=SOURCE for one model; repeatable.",
    ),
]
MaxLatencyMs = Annotated[
    float | None,
    typer.Option(show_default=DEFAULTS["none"], help="Budget: largest median milliseconds per image."),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option(show_default=DEFAULTS["none"], help="Budget: smallest validation accuracy, e.g. 0.9."),
]
Epochs = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["train.epochs"], help="For strategies that pass over the images."),
]
ImageSize = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["model.image_size"], help="Side of every model's input in pixels."),
]
Trials = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["all"], help="Try only so many combinations, chosen by Optuna."),
]
Thorough = Annotated[bool, typer.Option("--thorough", help="Time long enough for a p99 (minutes).")]
Storage = Annotated[str | None, typer.Option(help="Optuna's database URL; default a journal in --out.")]
Study = Annotated[str | None, typer.Option(help="The study's name; default from --out and the grid.")]
Seed = Annotated[
    int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The folder of all trials; several processes may share it."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with trials that a kill left behind.")]
