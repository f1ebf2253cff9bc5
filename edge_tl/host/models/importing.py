"""A classifier that was trained elsewhere, made a run: its architecture, weights and labels, evaluated on a folder.

Trains nothing. Everything after it (`export`, `verify`, `bench`) takes the run as one that `finetune` wrote.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import read_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.host import accelerator
from edge_tl.host.export import image_sets
from edge_tl.host.export.publish import named
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.images.dataset_notes import note_dataset
from edge_tl.host.images.findings import SplitName
from edge_tl.host.images.survey import survey_images
from edge_tl.host.models import classifier, contracts, factories, zoo
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.five_crop import with_crops
from edge_tl.host.models.input_size import check_size
from edge_tl.host.models.match_labels import match_labels
from edge_tl.host.models.match_weights import NAME, ORDER, load_whole_classifier
from edge_tl.host.models.reference import TorchRuntime
from edge_tl.host.models.state_dict import read_state
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.folder_lock import one_writer
from edge_tl.host.runs.new_record import Evaluation, TrainingFacts, new_record
from edge_tl.host.runs.record import MetricsRecord, RunRecord, SecondsRecord
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training import resume
from edge_tl.host.training.job import labels_of
from edge_tl.host.training.metrics import classification_metrics
from edge_tl.host.training.run_folder import RUN_FILES

STRATEGY = "import"


@dataclass(frozen=True)
class ImportOptions:
    """How what is imported is matched. `labels` is a file with one label a line, in the order of the model's outputs;
    without it they are the folder's classes, sorted. A file in another order than the folder is taken only with
    `reorder`, which then matches them by name. `match` "order" gives the tensors of a file with other names than the
    model's their places by their order and shape."""

    labels: Path | None = None
    reorder: bool = False
    match: str = NAME


def import_classifier(
    path: Path,
    recipe: Recipe,
    out: Path | None = None,
    *,
    options: ImportOptions | None = None,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> RunResult:
    """Make a run of the weights at `path` and evaluate it on the folder `recipe.data.path`.

    `recipe.model.name` is a model of the zoo, of timm, or `factory:package.module:function`. A run in `out`, finished
    or not, is replaced only with `overwrite`; the default folder gets a number. Raises `BadInput` for weights that do
    not fit, labels that do not fit the head, and a folder of other classes; `out` is then untouched.
    """
    start = perf_counter()
    options = options or ImportOptions()
    name, contract = recipe.model.name, _contract(recipe)
    _check(path, recipe, options)
    base = Path("runs") / path.name.split(".")[0]
    run = output_folder.run_folder(base, recipe, out, overwrite=overwrite, listener=listener)
    if not overwrite:
        output_folder.refuse_unfinished(run)
    if name.startswith(zoo.FACTORY):  # the caller's word, so the run that comes of it may be opened here
        factories.permit_factory(name)
    state = read_state(path, listener)
    model, pooled, matched = load_whole_classifier(name, state, path, options.match, listener)
    checked = classifier.check_classifier(with_crops(model, contract), contract.input_size, name)
    for said in checked.notes:
        listener.note(said)
    source = PretrainedModel(model, contract, head="", pooled=pooled, origin=path.name, name=name)

    images = listing.list_images(str(recipe.data.path), group_by=recipe.data.group_by, listener=listener)
    images = match_labels(images, checked.outputs, options.labels, reorder=options.reorder)
    seen = survey_images(contract, images.samples, images.sources(), listener)
    dataset = datasets.build_dataset(images, seen.bad, recipe.data, seed=recipe.seed)
    metrics = _evaluate(source, dataset, path, listener)
    facts = TrainingFacts(STRATEGY, "trained elsewhere", matched=matched)
    seconds = SecondsRecord(features=0.0, train=0.0, total=perf_counter() - start)
    record = new_record(run, recipe, source, dataset, facts, Evaluation(metrics, seconds))

    note_dataset(dataset, seen.remarks, listener)
    _note_contract(contract, path, listener)
    _save(run, source, record, recipe, overwrite=overwrite, listener=listener)
    return RunResult(run, checkpoint.read_run(run))


def _contract(recipe: Recipe) -> Preprocess:
    """What the images go through: the published contract of the architecture, and what the recipe changes in it."""
    name = recipe.model.name
    changes = ContractChanges.of(recipe.model)
    # What is known is what the network sees; no margin is invented.
    changes = replace(changes, resize_size=changes.resize_size or changes.image_size)
    contract = contracts.changed_contract(contracts.default_contract(name), changes)
    if not name.startswith(zoo.FACTORY):
        check_size(name, min(contract.single_crop().input_size))
    return replace(contract, max_pixels=recipe.data.max_pixels)


def _check(path: Path, recipe: Recipe, options: ImportOptions) -> None:
    """Raises `BadInput` for what is known before a file is read."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file. Give the weights as .safetensors, .pth or .pt.")
    if recipe.model.normalize == "dataset":
        raise BadInput(
            "model.normalize = dataset: an imported model keeps the statistics it was trained with. Give them: "
            "--set model.mean=[…] --set model.std=[…]."
        )
    if options.match not in (NAME, ORDER):
        raise BadInput(f"--match {options.match}: choose {NAME} or {ORDER}.")


def _evaluate(source: PretrainedModel, dataset: Dataset, path: Path, listener: Listener) -> MetricsRecord:
    """On the test images, or, where there are none, on the validation images."""
    split: SplitName = "test" if dataset.split("test") else "val"
    samples, model = dataset.split(split), source.model
    runtime = TorchRuntime(with_crops(model, source.contract), device=accelerator.device().type)
    inputs = image_sets.batches(source.contract, dataset, samples)
    logits = image_sets.evaluate({STRATEGY: runtime}, inputs, len(samples), listener)[STRATEGY]
    model.to("cpu").to(memory_format=torch.contiguous_format)
    if wrong := int(np.sum(~np.isfinite(logits).all(axis=1))):
        raise BadInput(
            f"{path}: the answers are not numbers on {wrong} of {len(logits)} images. Check the weights."
        )
    return classification_metrics(
        labels_of(samples),
        logits,
        dataset.labels,
        split=split,
        chosen_on_same_images=False,  # they chose nothing here
    )


def _note_contract(contract: Preprocess, path: Path, listener: Listener) -> None:
    listener.note(
        f"preprocessing: {_spelled(contract)}; another one: --set model.resize_size=…, model.resize, "
        "model.interpolation, model.mean, model.std"
    )
    if (trained := _trained_with(path)) and trained != contract:
        listener.note(
            f"warning: {checkpoint.RECORD} beside the weights says they were trained with: {_spelled(trained)}"
        )


def _save(
    run: Path,
    source: PretrainedModel,
    record: RunRecord,
    recipe: Recipe,
    *,
    overwrite: bool,
    listener: Listener,
) -> None:
    """Write the run, where nobody else made one since its folder was chosen."""
    checkpoint.claim(run, RUN_FILES, checkpoint.is_ours)
    try:
        with one_writer(run):
            if not overwrite:
                output_folder.run_folder(run, recipe, run, listener=listener)
                output_folder.refuse_unfinished(run)
            checkpoint.save(run, source.model, record)
            for of_a_training in (checkpoint.STATE, resume.BEST, resume.LAST, checkpoint.RECIPE):
                (run / of_a_training).unlink(missing_ok=True)
    except OSError as error:
        raise named(run, error) from error


def _spelled(contract: Preprocess) -> str:
    return (
        f"{contract.framing()}, {contract.interpolation}, "
        f"mean {_numbers(contract.mean)}, std {_numbers(contract.std)}"
    )


def _trained_with(path: Path) -> Preprocess | None:
    """What the images of the run went through whose weights these are; None where they are not a run's."""
    with suppress(OSError, ValueError, KeyError, TypeError, EdgeTLError):
        return Preprocess.from_json(read_json(path.parent / checkpoint.RECORD)["preprocess"])
    return None


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
