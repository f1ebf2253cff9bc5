"""The verb run: from a folder of images to a report in one go. It needs the `host` extra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli import _recipe_options
from edge_tl.cli._browser import Open, show_page
from edge_tl.cli._console import finish, say
from edge_tl.cli._options import Debug, Json, MaxPixels, WaitQuiet, fraction_note, wait_quiet_s
from edge_tl.cli._recipe_options import Overwrite, Seed, Settings
from edge_tl.cli._track import Track, open_tracking
from edge_tl.cli.export import MaxDrop
from edge_tl.cli.finetune import DataOrRecipe, Epochs, ImageSize, Model, Strategy, Weights
from edge_tl.device.errors import EXIT_GATE_FAILED

if TYPE_CHECKING:
    from edge_tl.host.whole_run import WholeRun

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", show_default="runs/NAME and exported/NAME", help="For run/ and bundle/."),
]
Int8 = Annotated[
    bool | None, typer.Option("--int8/--no-int8", show_default="int8", help="Quantize to INT8 too.")
]


def run(
    data_or_recipe: DataOrRecipe,
    model: Model = None,
    weights: Weights = None,
    strategy: Strategy = None,
    epochs: Epochs = None,
    image_size: ImageSize = None,
    seed: Seed = None,
    int8: Int8 = None,
    max_drop: MaxDrop = None,
    max_pixels: MaxPixels = None,
    wait_quiet: WaitQuiet = None,
    out: Out = None,
    overwrite: Overwrite = False,
    open_: Open = False,
    track: Track = None,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune, export, verify, time and report in one go.

    Interrupted, it goes on where it stopped when it is typed again; what is finished is not made again.
    """
    from edge_tl.cli._whole_progress import open_whole_listener
    from edge_tl.device.bench.effort import QUICK
    from edge_tl.host import whole_run
    from edge_tl.host.models import zoo
    from edge_tl.host.runs import checkpoint
    from edge_tl.host.training.run_folder import default_run_name

    fields = {
        "model.name": model,
        "model.weights": weights,
        "model.image_size": image_size,
        "train.strategy": strategy,
        "train.epochs": epochs,
        "export.int8": True if int8 is None else int8,
        "export.max_drop": max_drop,
        "data.max_pixels": max_pixels,
        "seed": seed,
    }
    recipe = _recipe_options.data_settings(data_or_recipe).changed(fields, set_).recipe()
    zoo.check_model_name(recipe.model.name)  # before a file is read
    _recipe_options.tell_recipe(recipe)
    if note := fraction_note(recipe.export.max_drop):
        say(f"--max-drop {note}")
    effort = replace(QUICK, wait_quiet_s=wait_quiet_s(wait_quiet), steps=True)
    with open_tracking(track, recipe.name or default_run_name(recipe), recipe) as tracking:
        with open_whole_listener() as listener:
            beside = tracking.beside(listener)
            made = whole_run.whole_run(recipe, out, effort=effort, overwrite=overwrite, listener=beside)
        if track:
            tracking.run(made.run, checkpoint.read_run(made.run))
            tracking.bundle(made.bundle, made.record)
    if open_:
        show_page(made.report)
    return _show(made, as_json=json)


def _show(made: WholeRun, *, as_json: bool) -> int:
    from edge_tl.cli._bundle_text import bundle_text, next_command

    places = {"run": str(made.run), "bundle": str(made.bundle), "report": str(made.report)}
    text = f"{bundle_text(made.record)}\n\nrun: {made.run}\nbundle: {made.bundle}\nreport: {made.report}"
    then = f"{next_command(made.record, made.bundle)}; or look at the report: edge-tl report {made.bundle} --open"
    code = 0 if made.record.passed else EXIT_GATE_FAILED
    return finish(made.record.to_json() | places, text, as_json=as_json, code=code, then=then)
