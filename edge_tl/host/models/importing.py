"""A classifier that was trained elsewhere, made a run: its architecture, its weights, its labels, a folder it is
judged on. It must not train.

Everything after it (`export`, `verify`, `bench`) takes the run as one that `finetune` wrote.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import read_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.names import same
from edge_tl.device.preprocess import Preprocess
from edge_tl.host import accelerator
from edge_tl.host.export.image_sets import evaluate
from edge_tl.host.export.publish import named
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import listing
from edge_tl.host.images.dataset_notes import note_dataset
from edge_tl.host.images.findings import SplitName
from edge_tl.host.images.survey import survey_images
from edge_tl.host.models import classifier, contracts, factories, zoo
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.input_size import check_size
from edge_tl.host.models.match_weights import NAME, ORDER, load_whole_classifier
from edge_tl.host.models.reference import TorchRuntime
from edge_tl.host.models.state_dict import read_state
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.folder_lock import one_writer
from edge_tl.host.runs.new_record import Evaluation, TrainingFacts, new_record
from edge_tl.host.runs.record import SecondsRecord
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training import resume
from edge_tl.host.training.finetune import RUN_FILES
from edge_tl.host.training.metrics import classification_metrics

STRATEGY = "import"
_SHOWN = 12


def adopt(
    path: Path,
    recipe: Recipe,
    out: Path | None = None,
    *,
    labels: Path | None = None,
    reorder: bool = False,
    match: str = NAME,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> RunResult:
    """Make a run of the weights at `path` and evaluate it on the folder `recipe.data.path`.

    `recipe.model.name` is a model of the zoo, of timm, or `factory:package.module:function`. `labels` is a file with
    one label a line, in the order of the model's outputs; without it they are the folder's classes, sorted. A file in
    another order than the folder is taken only with `reorder`, which then matches them by name. `match` "order" gives
    the tensors of a file with other names than the model's their places by their order and shape. A run in `out`,
    finished or not, is replaced only with `overwrite`; the default folder gets a number. Raises `BadInput` for
    weights that do not fit, labels that do not fit the head, and a folder of other classes; `out` is then untouched.
    """
    start = perf_counter()
    name = recipe.model.name
    changes = ContractChanges.of(recipe.model)
    # What is known is what the network sees; no margin is invented.
    changes = replace(changes, resize_size=changes.resize_size or changes.image_size)
    contract = contracts.changed_contract(contracts.default_contract(name), changes)
    contract = replace(contract, max_pixels=recipe.data.max_pixels)
    if not name.startswith(zoo.FACTORY):
        check_size(name, min(contract.input_size))
    if not path.is_file():
        raise BadInput(f"{path}: no such file. Give the weights as .safetensors, .pth or .pt.")
    if recipe.model.normalize == "dataset":
        raise BadInput(
            "model.normalize = dataset: an imported model keeps the statistics it was trained with. Give them: "
            "--set model.mean=[…] --set model.std=[…]."
        )
    if match not in (NAME, ORDER):
        raise BadInput(f"--match {match}: choose {NAME} or {ORDER}.")
    run = output_folder.run_folder(
        Path("runs") / path.name.split(".")[0], recipe, out, overwrite=overwrite, listener=listener
    )
    if not overwrite:
        output_folder.refuse_unfinished(run)
    if name.startswith(zoo.FACTORY):  # the caller's word, so the run that comes of it may be opened here
        factories.permit_factory(name)
    state = read_state(path, listener)
    model, pooled, matched = load_whole_classifier(name, state, path, match, listener)
    checked = classifier.check_classifier(model, contract.input_size, name)
    for said in checked.notes:
        listener.note(said)
    found = listing.list_images(
        str(recipe.data.path),
        group_by=recipe.data.group_by,
        listener=listener,
    )
    found = _matched(found, checked.outputs, labels, reorder)
    seen = survey_images(contract, found.samples, found.sources(), listener)
    split = recipe.data.model_dump(include={"val", "test", "on_bad_image", "limit"})
    dataset = datasets.build_dataset(found, seen.bad, seed=recipe.seed, **split)
    judged: SplitName = "test" if dataset.split("test") else "val"
    samples = dataset.split(judged)
    runtime = TorchRuntime(model, device=accelerator.device().type)
    logits = evaluate({STRATEGY: runtime}, contract, dataset, samples, listener)[STRATEGY]
    model.to("cpu").to(memory_format=torch.contiguous_format)
    if wrong := int(np.sum(~np.isfinite(logits).all(axis=1))):
        raise BadInput(
            f"{path}: the answers are not numbers on {wrong} of {len(logits)} images. Check the weights."
        )
    extracted = perf_counter()
    labels_of_samples = np.array([s.label for s in samples], np.int64)
    metrics = classification_metrics(
        labels_of_samples,
        logits,
        dataset.labels,
        split=judged,
        chosen_on_same_images=False,  # they chose nothing here
    )
    source = PretrainedModel(model, contract, head="", pooled=pooled, origin=path.name, name=name)
    facts = TrainingFacts(STRATEGY, "trained elsewhere", matched=matched)
    seconds = SecondsRecord(features=0.0, train=0.0, total=extracted - start)
    record = new_record(run, recipe, source, dataset, facts, Evaluation(metrics, seconds))
    note_dataset(dataset, seen.remarks, listener)
    listener.note(
        f"preprocessing: {_spelled(contract)}; another one: --set model.resize_size=…, model.interpolation, "
        "model.mean, model.std"
    )
    if (trained := _trained_with(path)) and trained != contract:
        listener.note(
            f"warning: {checkpoint.RECORD} beside the weights says they were trained with: {_spelled(trained)}"
        )
    checkpoint.claim(run, RUN_FILES, checkpoint.is_ours)
    try:
        with one_writer(run):
            if not overwrite:  # what another made there since then
                output_folder.run_folder(run, recipe, run, listener=listener)
                output_folder.refuse_unfinished(run)
            checkpoint.save(run, model, record)
            for of_a_training in (resume.STATE, resume.BEST, resume.LAST, checkpoint.RECIPE):
                (run / of_a_training).unlink(missing_ok=True)
    except OSError as error:
        raise named(run, error) from error
    return RunResult(run, checkpoint.read(run))


def _spelled(contract: Preprocess) -> str:
    size = "x".join(map(str, contract.input_size))
    return (
        f"{contract.resize} side to {contract.resize_size[0]}, {contract.interpolation}, centre {size}, "
        f"mean {_numbers(contract.mean)}, std {_numbers(contract.std)}"
    )


def _trained_with(path: Path) -> Preprocess | None:
    """What the images of the run went through whose weights these are; None where they are not a run's."""
    with suppress(OSError, ValueError, KeyError, TypeError, EdgeTLError):
        return Preprocess.from_json(read_json(path.parent / checkpoint.RECORD)["preprocess"])
    return None


def _matched(found: datasets.Listing, outputs: int, labels: Path | None, reorder: bool) -> datasets.Listing:
    """The listing with its labels in the order of the model's outputs."""
    given = found.labels
    if labels is not None:
        try:
            given = [
                line.strip() for line in labels.read_text(encoding="utf-8-sig").splitlines() if line.strip()
            ]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"--labels {labels}: cannot be read ({error}). Give a text file, one label a line."
            ) from None
        if len(set(given)) != len(given):
            twice = next(label for label in given if given.count(label) > 1)
            raise BadInput(
                f"--labels {labels}: {twice!r} comes twice. Every output has one label of its own."
            )
    if len(given) != outputs:
        where = f"--labels {labels}" if labels else str(found.root)
        folders = f" Classes of the folder: {_list(found.labels)}." if labels else ""
        raise BadInput(
            f"the model has {outputs} outputs, {where} has {len(given)} labels: {_list(given)}.{folders} "
            + (
                "Give the file that belongs to these weights."
                if labels
                else "Give the folder it was trained for, or its labels with --labels FILE."
            )
        )
    form = {
        same(label): label for label in given
    }  # a folder may be called by another Unicode form of the label
    found = replace(found, labels=[form.get(same(label), label) for label in found.labels])
    if given == found.labels:
        return found
    if foreign := [label for label in found.labels if label not in given]:
        raise BadInput(
            f"class {foreign[0]!r} of {found.root} is not among the labels. Labels of the model: {_list(given)}; "
            f"classes of the folder: {_list(found.labels)}. Rename the folders to match."
        )
    if missing := [label for label in given if label not in found.labels]:
        raise BadInput(
            f"label {missing[0]!r} has no images in {found.root}. Labels of the model: {_list(given)}; classes of the "
            f"folder: {_list(found.labels)}. Add a folder for each."
        )
    if not reorder:
        first = next(i for i, (a, b) in enumerate(zip(given, found.labels, strict=True)) if a != b)
        raise BadInput(
            f"the classes are in another order, from number {first + 1} on. Labels of the model: "
            f"{_list(given, first)}; classes of the folder: {_list(found.labels, first)}. If the file is in the order "
            "of the outputs, add --reorder to match them by name."
        )
    place = {label: i for i, label in enumerate(given)}
    moved = [s.relabelled(place[found.labels[s.label]]) for s in found.samples]
    return replace(found, labels=given, samples=moved)


def _list(names: list[str], first: int = 0) -> str:
    """Some of the names, `first` among them."""
    start = first if len(names) > _SHOWN else 0
    shown = ", ".join(names[start : start + _SHOWN])
    more = f", … ({len(names)})" if len(names) > start + _SHOWN else ""
    return f"…, {shown}{more}" if start else shown + more


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
