"""The folder of a run while it is made: its name, what it may hold, its one writer. Trains nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.names import cleaned
from edge_tl.host.export.publish import FULL, named
from edge_tl.host.models.contracts import known_contract
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.folder_lock import one_writer
from edge_tl.host.runs.record import WEIGHTS
from edge_tl.host.training import distributed, features, resume
from edge_tl.host.training.decoded import DECODED

FOLDS, TENSORBOARD = "folds", "tensorboard"
RUN_FILES = (
    checkpoint.RECORD,
    WEIGHTS,
    checkpoint.RECIPE,
    features.FOLDER,
    checkpoint.STATE,
    resume.BEST,
    resume.LAST,
    DECODED,
    FOLDS,
    TENSORBOARD,
    "report.md",
    "report.html",
    "report.json",
)


@contextmanager
def sole_writer(run: Path, recipe: Recipe, *, resumed: bool, overwrite: bool) -> Iterator[None]:
    """Lock the folder and write down what it will hold; of several processes the main one writes. Raises `BadInput`
    where another process writes there, or another run is in the way."""
    if not distributed.is_main():
        yield
        return
    checkpoint.claim(run, RUN_FILES, checkpoint.is_ours)
    try:
        with one_writer(run):
            _claim(run, recipe, resumed, overwrite)
            yield
    except OSError as error:
        if error.errno not in FULL:  # it may be about what was read
            raise
        raise named(run, error) from error


def free_folder(
    recipe: Recipe, out: Path | None, *, resumed: bool, overwrite: bool, listener: Listener
) -> Path:
    """The folder of a new run, refused before an image is read or anything is downloaded for it: where another run is
    in the way, or where nothing can be written. Raises `BadInput`."""
    base = Path("runs") / (recipe.name or default_run_name(recipe))
    run = output_folder.run_folder(base, recipe, out, resumed=resumed, overwrite=overwrite, listener=listener)
    checkpoint.check_claim(run, RUN_FILES, checkpoint.is_ours)
    return run


def _claim(run: Path, recipe: Recipe, resumed: bool, overwrite: bool) -> None:
    """Write down what the folder will hold; an unfinished training is not started over unasked, nor what another
    finished there since the folder was chosen."""
    output_folder.run_folder(run, recipe, run, overwrite=overwrite, listener=SILENT)
    if overwrite:
        (run / checkpoint.STATE).unlink(missing_ok=True)
    if (run / checkpoint.STATE).is_file() and not resumed:
        raise BadInput(
            f"{run} holds an unfinished training. Add --resume to go on with it, choose another --out, or add "
            "--overwrite to start it anew."
        )
    if (run / checkpoint.STATE).is_file():
        output_folder.refuse_another(run, recipe)
    else:  # a refused attempt to resume must not change what can be resumed
        checkpoint.write_recipe(run, recipe)


def default_run_name(recipe: Recipe) -> str:
    """A name for the run: data, model and, where they are asked for, strategy, resize and size; without what cannot
    be in a name."""
    last = Path(str(recipe.data.path)).expanduser().resolve()
    parts = [last.name if last.is_dir() else last.name.split(".")[0], recipe.model.name]
    if recipe.train.strategy != "auto":
        parts.append(recipe.train.strategy)
    size = recipe.model.image_size
    if recipe.model.resize != "shorter":
        parts.append(recipe.model.resize)
    own = known_contract(recipe.model.name, recipe.model.weights)
    if size is not None and (own is None or size != own.input_size[0]):
        parts.append(f"{size}px")
    return cleaned("-".join(re.sub(r"[^\w.-]+", "-", part).strip("-") or "data" for part in parts))
