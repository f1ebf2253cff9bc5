"""From a recipe to a run, in the order things happen: images, features, head, backbone, metrics, record.

Never prints: progress, notes and the events of the training go to the listener.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener, Listeners
from edge_tl.host import accelerator
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import listing
from edge_tl.host.images.crop_loss import (
    measure_crop_loss,
    note_crop_loss,
    summarize_sizes,
    upright_sizes,
)
from edge_tl.host.images.dataset_notes import note_dataset
from edge_tl.host.images.findings import SplitName
from edge_tl.host.images.survey import survey_images
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.input_size import check_takes_size
from edge_tl.host.models.weights import PretrainedModel, check_weights, open_pretrained
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.new_record import Evaluation, new_record
from edge_tl.host.runs.record import MetricsRecord, SecondsRecord
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training import distributed, features, preflight, resume
from edge_tl.host.training.compare_resize import compare_resize
from edge_tl.host.training.decoded import DECODED
from edge_tl.host.training.evaluate import FittedModel, predict_logits
from edge_tl.host.training.fit_split import fit_split
from edge_tl.host.training.folds import cross_validate
from edge_tl.host.training.job import SplitSamples, TrainingSetup, labels_of
from edge_tl.host.training.metrics import classification_metrics
from edge_tl.host.training.run_folder import FOLDS, TENSORBOARD, free_folder, sole_writer


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
    _check(recipe)
    run = distributed.from_main(
        lambda: free_folder(recipe, out, resumed=resumed, overwrite=overwrite, listener=listener)
    )
    if resumed and not overwrite and output_folder.is_same(run, recipe):
        listener.note(f"{run} is finished")
        return RunResult(run, checkpoint.read_run(run))
    check_weights(recipe.model.weights)
    images = distributed.from_main(
        lambda: listing.list_images(str(recipe.data.path), group_by=recipe.data.group_by, listener=listener)
    )
    preflight.check_listing(recipe, images)
    source = _open_model(recipe, listener)
    with sole_writer(run, recipe, resumed=resumed, overwrite=overwrite):  # bad data leave no folder behind
        setup = _prepare(recipe, source, images, run, listener)
        extracted = perf_counter()
        split = SplitSamples(setup.dataset.split("train"), setup.dataset.split("val"))
        sizes = upright_sizes(setup.dataset) if distributed.is_main() else {}
        loss = measure_crop_loss(setup.source.contract, sizes)
        note_crop_loss(loss, compared=recipe.train.compare_resize, listener=listener)
        compared = compare_resize(setup, split, run, listener) if recipe.train.compare_resize else None
        with _with_tensorboard(recipe, run, listener) as listeners:
            fitted = fit_split(setup, split, run, listener=listeners)
        folds = cross_validate(setup, run / FOLDS, listener) if recipe.data.folds else None
        if distributed.is_main():
            metrics = _evaluate(fitted, setup, listener)
            now = perf_counter()
            evaluation = Evaluation(
                metrics,
                SecondsRecord(features=extracted - start, train=now - extracted, total=now - start),
                folds,
                image_sizes=summarize_sizes(sizes, setup.source.contract),
                crop_loss=loss,
                resize_comparison=compared,
                features=setup.features.runtime if setup.features else None,
                features_computed=setup.features.computed if setup.features else 0,
                processes=distributed.count(),
            )
            _save(run, setup, fitted, evaluation)
        distributed.wait()
        return RunResult(run, checkpoint.read_run(run))


def _check(recipe: Recipe) -> None:
    """Raises `BadInput` for what is known before a file is read."""
    if recipe.data.path is None:
        raise BadInput("no data: the recipe has no data.path. Give a folder, or --set data.path=FOLDER.")
    if recipe.train.batch_size % distributed.count():
        raise BadInput(
            f"train.batch_size = {recipe.train.batch_size}: {distributed.count()} processes cannot share it evenly. "
            f"Use a multiple of {distributed.count()}."
        )


def _open_model(recipe: Recipe, listener: Listener) -> PretrainedModel:
    """The model to start from, with the contract that the recipe asks for."""
    accelerator.reproduce(accelerator.device(), recipe.train.deterministic)
    torch.manual_seed(recipe.seed)  # --weights none is random, and must be the same random again
    changes = ContractChanges.of(recipe.model)
    source = open_pretrained(recipe.model.name, recipe.model.weights, changes)
    for size in recipe.train.image_sizes or () if recipe.train.strategy != "head" else ():
        check_takes_size(source.model, recipe.model.name, size)
    if source.origin == "none":
        listener.note(
            "NOTHING IS TRANSFERRED: --weights none leaves the backbone random; expect a poor classifier."
        )
    if source.contract.five_crop:
        listener.note("five-crop: every image goes through the network five times, here and on the device")
    return replace(source, contract=replace(source.contract, max_pixels=recipe.data.max_pixels))


def _prepare(
    recipe: Recipe, source: PretrainedModel, images: datasets.Listing, run: Path, listener: Listener
) -> TrainingSetup:
    """One pass over every image: what cannot be decoded, and the frozen features where a strategy asks for them."""
    needs_features = recipe.train.strategy != "full" and not (
        recipe.train.strategy == "auto" and source.origin == "none"
    )
    encoded = images.sources()
    seen = None
    if recipe.model.normalize == "dataset" or not needs_features:
        seen = survey_images(source.contract, images.samples, encoded, listener)
    if seen and recipe.model.normalize == "dataset":
        measured = datasets.build_dataset(images, seen.bad, recipe.data, seed=recipe.seed)
        source = replace(source, contract=seen.normalized(source.contract, measured.split("train")))
    found = None
    if needs_features:
        found = features.extract(source, images.samples, encoded, run, listener=listener)
    bad = found.bad if found else seen.bad if seen else {}
    dataset = datasets.build_dataset(images, bad, recipe.data, seed=recipe.seed)
    note_dataset(dataset, found.remarks if found else seen.remarks if seen else {}, listener)
    preflight.check_dataset(recipe, dataset)
    return TrainingSetup(recipe, source, dataset, found)


@contextmanager
def _with_tensorboard(recipe: Recipe, run: Path, listener: Listener) -> Iterator[Listener]:
    """`listener`, and TensorBoard's beside it where the recipe asks for that."""
    if not recipe.train.tensorboard or not distributed.is_main():
        yield listener
        return
    from edge_tl.host.training.tensorboard import open_tensorboard

    done = resume.steps_done(run / checkpoint.STATE)
    with open_tensorboard(run / TENSORBOARD, resume_at_step=done) as tensorboard:
        yield Listeners(listener, tensorboard)


def _evaluate(fitted: FittedModel, setup: TrainingSetup, listener: Listener) -> MetricsRecord:
    """On the test images, or, where there are none, on those that chose."""
    split: SplitName = "test" if setup.dataset.split("test") else "val"
    samples = setup.dataset.split(split)
    return classification_metrics(
        labels_of(samples),
        predict_logits(fitted, setup, samples, listener),
        setup.dataset.labels,
        split=split,
        # The regularization of the head and the epoch were the best by the validation images.
        chosen_on_same_images=split == "val",
    )


def _save(run: Path, setup: TrainingSetup, fitted: FittedModel, evaluation: Evaluation) -> None:
    """Write the run; what an unfinished training needs goes."""
    record = new_record(run, setup.recipe, setup.source, setup.dataset, fitted.facts, evaluation)
    checkpoint.save(run, fitted.model, record)
    of_killed_writes = run.glob(".*.safetensors.*")
    for leftover in (run / checkpoint.STATE, run / resume.BEST, *of_killed_writes):
        leftover.unlink(missing_ok=True)
    for folder in (DECODED, FOLDS):
        shutil.rmtree(run / folder, ignore_errors=True)
