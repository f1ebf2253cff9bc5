"""From a recipe to a run: data, features, head, backbone, figures; in the order things happen.

Never prints: progress, notes and the events of the training go to the listener.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener, Listeners
from edge_tl.device.names import cleaned
from edge_tl.host import accelerator
from edge_tl.host.export.publish import FULL, named
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.images.dataset_notes import note_dataset
from edge_tl.host.images.findings import SplitName
from edge_tl.host.images.survey import survey_images
from edge_tl.host.models.contracts import ContractChanges, known_contract
from edge_tl.host.models.input_size import check_takes_size
from edge_tl.host.models.weights import PretrainedModel, open_pretrained
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.folder_lock import one_writer
from edge_tl.host.runs.new_record import Evaluation, new_record
from edge_tl.host.runs.record import WEIGHTS, FoldsRecord, SecondsRecord
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training import distributed, features, preflight, resume
from edge_tl.host.training.fit_split import DECODED, FittedModel, fit_split, labels_of, predict_logits
from edge_tl.host.training.folds import cross_validate
from edge_tl.host.training.metrics import classification_metrics

FOLDS, EVENTS = "folds", "tensorboard"
RUN_FILES = (
    checkpoint.RECORD,
    WEIGHTS,
    checkpoint.RECIPE,
    features.FOLDER,
    resume.STATE,
    resume.BEST,
    resume.LAST,
    DECODED,
    FOLDS,
    EVENTS,
    "report.md",
    "report.html",
    "report.json",
)


def finetune(
    recipe: Recipe,
    out: Path | None = None,
    *,
    resumed: bool = False,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> RunResult:
    """Fine-tune as `recipe` says and write the run to `out` (default `runs/NAME`, numbered where that is another run).

    With `resumed` an unfinished run in that folder goes on from its last checkpoint, and a finished one is returned
    as it is. Without `overwrite` a finished run is refused rather than replaced. Raises `BadInput`, also where another
    process writes into that folder; whatever it raises, `out` is then no finished run, or still the one it was. Of
    several processes the main one alone writes.
    """
    start = perf_counter()
    if recipe.data.path is None:
        raise BadInput("no data: the recipe has no data.path. Give a folder, or --set data.path=FOLDER.")
    if recipe.train.batch_size % distributed.count():
        raise BadInput(
            f"train.batch_size = {recipe.train.batch_size}: {distributed.count()} processes cannot share it evenly. "
            f"Use a multiple of {distributed.count()}."
        )
    base = Path("runs") / (recipe.name or _name(recipe))
    run = distributed.from_main(
        lambda: output_folder.run_folder(
            base, recipe, out, resumed=resumed, overwrite=overwrite, listener=listener
        )
    )
    if resumed and not overwrite and output_folder.is_same(run, recipe):
        listener.note(f"{run} is finished")
        return RunResult(run, checkpoint.read(run))
    found_files = distributed.from_main(
        lambda: listing.list_images(
            str(recipe.data.path),
            group_by=recipe.data.group_by,
            listener=listener,
        )
    )
    preflight.check(recipe, found_files)
    accelerator.reproduce(accelerator.device(), recipe.train.deterministic)
    torch.manual_seed(recipe.seed)  # --weights none is random, and must be the same random again
    source = open_pretrained(
        recipe.model.name,
        recipe.model.weights,
        ContractChanges.of(recipe.model),
    )
    for size in recipe.train.image_sizes or () if recipe.train.strategy != "head" else ():
        check_takes_size(source.model, recipe.model.name, size)
    source = replace(source, contract=replace(source.contract, max_pixels=recipe.data.max_pixels))
    if source.origin == "none":
        listener.note(
            "NOTHING IS TRANSFERRED: --weights none leaves the backbone random; expect a poor classifier."
        )
    with _alone(run, recipe, resumed, overwrite):  # not before: bad data or weights leave no folder behind
        return _trained(recipe, source, found_files, run, start, listener)


def _trained(
    recipe: Recipe,
    source: PretrainedModel,
    found_files: datasets.Listing,
    run: Path,
    start: float,
    listener: Listener,
) -> RunResult:
    """Train, evaluate and write the run; `start` is when the verb began, by `perf_counter`."""
    source, dataset, found, remarks = _looked_at(recipe, source, found_files, run, listener)
    note_dataset(dataset, remarks, listener)
    preflight.check_dataset(recipe, dataset)
    extracted = perf_counter()

    with _with_tensorboard(recipe, run, listener) as listeners:
        fitted = fit_split(
            source,
            dataset,
            dataset.split("train"),
            dataset.split("val"),
            found,
            recipe,
            run,
            listener=listeners,
        )
    folds = (
        cross_validate(source, dataset, found, recipe, run / FOLDS, listener) if recipe.data.folds else None
    )
    if distributed.is_main():
        _write(recipe, source, run, dataset, fitted, found, folds, (start, extracted), listener)
    distributed.wait()
    return RunResult(run, checkpoint.read(run))


def _write(
    recipe: Recipe,
    source: PretrainedModel,
    run: Path,
    dataset: Dataset,
    fitted: FittedModel,
    found: features.Features | None,
    folds: FoldsRecord | None,
    times: tuple[float, float],
    listener: Listener,
) -> None:
    """Evaluate and write the run."""
    start, extracted = times
    split: SplitName = "test" if dataset.split("test") else "val"
    samples = dataset.split(split)
    logits = predict_logits(fitted, source.contract, dataset, samples, found, listener)
    metrics = classification_metrics(
        labels_of(samples),
        logits,
        dataset.labels,
        split=split,
        # The regularization of the head and the epoch were the best by the validation images.
        chosen_on_same_images=split == "val",
    )
    trained = perf_counter()
    evaluation = Evaluation(
        metrics=metrics,
        seconds=SecondsRecord(extracted - start, trained - extracted, perf_counter() - start),
        folds=folds,
        features=found.runtime if found else None,
        features_computed=found.computed if found else 0,
        processes=distributed.count(),
    )
    record = new_record(run, recipe, source, dataset, fitted.facts, evaluation)
    checkpoint.save(run, fitted.model, record)
    of_killed_writes = run.glob(".*.safetensors.*")
    for leftover in (run / resume.STATE, run / resume.BEST, *of_killed_writes):
        leftover.unlink(missing_ok=True)
    for folder in (DECODED, FOLDS):
        shutil.rmtree(run / folder, ignore_errors=True)


@contextmanager
def _alone(run: Path, recipe: Recipe, resumed: bool, overwrite: bool) -> Iterator[None]:
    """The one writer of the folder, which says what it will hold; of several processes the main one writes."""
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


def _claim(run: Path, recipe: Recipe, resumed: bool, overwrite: bool) -> None:
    """Write down what the folder will hold; an unfinished training is not started over unasked, nor what another
    finished there since the folder was chosen."""
    output_folder.run_folder(run, recipe, run, overwrite=overwrite, listener=SILENT)
    if overwrite:
        (run / resume.STATE).unlink(missing_ok=True)
    if (run / resume.STATE).is_file() and not resumed:
        raise BadInput(
            f"{run} holds an unfinished training. Add --resume to go on with it, choose another --out, or add "
            "--overwrite to start it anew."
        )
    if (run / resume.STATE).is_file():
        output_folder.refuse_another(run, recipe)
    else:  # a refused attempt to resume must not change what can be resumed
        checkpoint.write_recipe(run, recipe)


def _looked_at(
    recipe: Recipe, source: PretrainedModel, found_files: datasets.Listing, run: Path, listener: Listener
) -> tuple[PretrainedModel, Dataset, features.Features | None, dict[str, str]]:
    """One pass over every image: what cannot be decoded, and the frozen features where a strategy asks for them."""
    needs_features = recipe.train.strategy != "full" and not (
        recipe.train.strategy == "auto" and source.origin == "none"
    )
    images = found_files.sources()
    split = recipe.data.model_dump(include={"val", "test", "on_bad_image", "limit"})
    seen = None
    if recipe.model.normalize == "dataset" or not needs_features:
        seen = survey_images(source.contract, found_files.samples, images, listener)
    if seen and recipe.model.normalize == "dataset":
        settled = datasets.build_dataset(found_files, seen.bad, seed=recipe.seed, **split)
        source = replace(source, contract=seen.normalized(source.contract, settled.split("train")))
    found = None
    if needs_features:
        found = features.extract(source, found_files.samples, images, run, listener=listener)
    bad = found.bad if found else seen.bad if seen else {}
    remarks = found.remarks if found else seen.remarks if seen else {}
    return source, datasets.build_dataset(found_files, bad, seed=recipe.seed, **split), found, remarks


@contextmanager
def _with_tensorboard(recipe: Recipe, run: Path, listener: Listener) -> Iterator[Listener]:
    """`listener`, and TensorBoard's beside it where the recipe asks for that."""
    if not recipe.train.tensorboard or not distributed.is_main():
        yield listener
        return
    from edge_tl.host.training.tensorboard import open_tensorboard

    done = resume.steps_done(run / resume.STATE)
    with open_tensorboard(run / EVENTS, resume_at_step=done) as tensorboard:
        yield Listeners(listener, tensorboard)


def _name(recipe: Recipe) -> str:
    """A name for the run: data, model and, where they are asked for, strategy and size; without what cannot be in a
    name."""
    last = Path(str(recipe.data.path)).expanduser().resolve()
    parts = [last.name if last.is_dir() else last.name.split(".")[0], recipe.model.name]
    if recipe.train.strategy != "auto":
        parts.append(recipe.train.strategy)
    size = recipe.model.image_size
    own = known_contract(recipe.model.name, recipe.model.weights)
    if size is not None and (own is None or size != own.input_size[0]):
        parts.append(f"{size}px")
    return cleaned("-".join(re.sub(r"[^\w.-]+", "-", part).strip("-") or "data" for part in parts))
