"""The verb finetune: from images to a run. It needs the `host` extra."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli import _recipe_options
from edge_tl.cli._completion import one_of
from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, MaxPixels
from edge_tl.cli._recipe_options import DEFAULTS, Out, Overwrite, Seed, Settings
from edge_tl.cli._track import Track, open_tracking

if TYPE_CHECKING:
    from edge_tl.host.runs.result import RunResult

DataOrRecipe = Annotated[
    str,
    typer.Argument(
        help="A folder of images, a .csv list, .tar shards, a .yaml recipe, a recipe's name, or a run's folder."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(show_default=DEFAULTS["model.name"], help="What to fine-tune. See `edge-tl models`."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["model.weights"],
        help="imagenet, embedded, none, or a path to .safetensors or .pth.",
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["train.strategy"],
        autocompletion=one_of("auto", "head", "partial", "full", "lp-ft", "gradual"),
        help="auto, head, partial, full, lp-ft or gradual.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["train.epochs"], help="For strategies that pass over the images."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["train.batch_size"], help="Images per step, over all processes."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(show_default=DEFAULTS["train.lr"], help="Peak learning rate of the last block."),
]
Augment = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["augment.preset"],
        autocompletion=one_of("none", "light", "medium", "strong"),
        help="none, light, medium or strong.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["model.image_size"], help="Side of the model's input in pixels."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["data.group_by"],
        help="Regular expression on paths: one match, one scene, one split.",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(show_default=DEFAULTS["data.folds"], help="Cross-validate over so many folds as well."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
CompareResize = Annotated[
    bool,
    typer.Option("--compare-resize", help="Measure other resize policies too, by a head on frozen features."),
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write event files.")]


def finetune(
    data_or_recipe: DataOrRecipe,
    model: Model = None,
    weights: Weights = None,
    strategy: Strategy = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    augment: Augment = None,
    image_size: ImageSize = None,
    group_by: GroupBy = None,
    folds: Folds = None,
    seed: Seed = None,
    max_pixels: MaxPixels = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    tensorboard: Tensorboard = False,
    compare_resize: CompareResize = False,
    track: Track = None,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune a classifier on your own images."""
    from edge_tl.cli._training_listeners import open_training_listener
    from edge_tl.host.models import zoo
    from edge_tl.host.training import distributed
    from edge_tl.host.training import finetune as training
    from edge_tl.host.training.run_folder import default_run_name

    fields = {
        "model.name": model,
        "model.weights": weights,
        "model.image_size": image_size,
        "train.strategy": strategy,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.tensorboard": tensorboard or None,
        "train.compare_resize": compare_resize or None,
        "augment.preset": augment,
        "data.group_by": group_by,
        "data.folds": folds,
        "data.max_pixels": max_pixels,
        "seed": seed,
    }
    given = _recipe_options.data_settings(data_or_recipe).changed(fields, set_)
    recipe, out = _recipe_options.tell_recipe(given.recipe()), out or given.run
    zoo.check_model_name(recipe.model.name)  # before a file is read
    if not distributed.is_main():  # the main process prints and writes for all
        training.finetune(recipe, out, resumed=resume, overwrite=overwrite)
        return 0
    name = recipe.name or default_run_name(recipe)
    with open_tracking(track, name, recipe) as tracking, open_training_listener() as listener:
        beside = tracking.beside(listener)
        result = training.finetune(recipe, out, resumed=resume, overwrite=overwrite, listener=beside)
        tracking.run(result.run, result.record)
    then = f"next: edge-tl export {quote(str(result.run))} --int8"
    return finish(result.to_json(), _text(result), as_json=json, then=then)


def _text(result: RunResult) -> str:
    from edge_tl.cli._run_text import accuracy_line, resize_lines

    record = result.record
    counts = ", ".join(f"{n} {split}" for split, n in vars(record.data.n).items() if n)
    return (
        f"{result.run}: {record.model}, {record.strategy}, {len(record.labels)} classes, {counts} images\n"
        f"{accuracy_line(record.metrics)}; {record.seconds.total:.1f} s"
        + resize_lines(record.resize_comparison)
    )
