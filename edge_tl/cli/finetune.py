"""The verb finetune: from images to a run. It needs the `host` extra and holds no logic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli import _options
from edge_tl.cli._console import Debug, Json, finish
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import DEFAULTS, MaxPixels, Out, Overwrite, Settings

if TYPE_CHECKING:  # a device has the command line and not the host
    from edge_tl.host.runs.record import MetricsRecord


def finetune(
    data_or_recipe: Annotated[
        str,
        typer.Argument(
            help="A folder of images, a .csv list, .tar shards, a .yaml recipe, a recipe's name, or a run's folder."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(show_default=DEFAULTS["model.name"], help="What to fine-tune. See `edge-tl models`."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["model.weights"],
            help="imagenet, embedded, none, or a path to .safetensors or .pth.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["train.strategy"], help="auto, head, partial, full, lp-ft or gradual."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["train.epochs"], help="For strategies that pass over the images."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["train.batch_size"], help="Images per step, over all processes."),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(show_default=DEFAULTS["train.lr"], help="Peak learning rate of the last block."),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(show_default=DEFAULTS["augment.preset"], help="none, light, medium or strong."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["model.image_size"], help="Side of the model's input in pixels."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["data.group_by"],
            help="Regular expression on paths: one match, one scene, one split.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["data.folds"], help="Cross-validate over so many folds as well."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
    ] = None,
    max_pixels: MaxPixels = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files.")] = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune a classifier on your own images."""
    from edge_tl.host.models import zoo
    from edge_tl.host.training import distributed
    from edge_tl.host.training import finetune as room

    flags = {
        "model.name": model,
        "model.weights": weights,
        "train.strategy": strategy,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "augment.preset": augment,
        "model.image_size": image_size,
        "data.group_by": group_by,
        "data.folds": folds,
        "data.max_pixels": max_pixels,
        "train.tensorboard": tensorboard or None,
        "seed": seed,
    }
    asked = _options.of_data(data_or_recipe).changed(flags, set_)
    recipe, run = asked.recipe(), asked.run
    zoo.check_name(recipe.model.name)  # before a file is read
    if not distributed.is_main():  # the main process speaks and writes for all
        room.finetune(recipe, out or run, resumed=resume, overwrite=overwrite)
        return 0
    with open_listener() as listener:
        result = room.finetune(
            recipe,
            out or run,
            resumed=resume,
            overwrite=overwrite,
            listener=listener,
        )
    record, folder = result.record, result.run
    counts = ", ".join(f"{n} {split}" for split, n in vars(record.data.n).items() if n)
    return finish(
        result.to_json(),
        f"{folder}: {record.model}, {record.strategy}, {len(record.labels)} classes, {counts} images\n"
        f"{accuracy_line(record.metrics)}; {record.seconds.total:.1f} s",
        as_json=json,
        then=f"next: edge-tl export {folder} --int8",
    )


def accuracy_line(metrics: MetricsRecord) -> str:
    """The accuracy of a run, with its interval and what else the images were used for."""
    text = f"accuracy {metrics.accuracy:.4f}"
    if metrics.accuracy_ci:  # runs of older versions have none
        low, high = metrics.accuracy_ci
        text += f", 95 % interval [{low:.4f}, {high:.4f}]"
    text += f", macro F1 {metrics.macro_f1:.4f} on the {metrics.n} images of {metrics.split}"
    if metrics.chosen_on_same_images:
        text += ", which also chose what was kept: expect less on new images"
    return text
