"""Stratified k-fold cross-validation: how much the accuracy of a recipe depends on which images it saw.

Each fold starts from the same weights; what a run chooses by validation images (regularization, the best epoch) a
fold chooses by a part of its own training images, never by those it is evaluated on. The test split takes no part.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edge_tl.device import metrics
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json, write_json
from edge_tl.device.listener import Listener, Silent
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.runs.record import FoldsRecord
from edge_tl.host.training import distributed
from edge_tl.host.training.evaluate import predict_logits
from edge_tl.host.training.fingerprint import fingerprint
from edge_tl.host.training.fit_split import fit_split
from edge_tl.host.training.job import SplitSamples, TrainingSetup, labels_of
from edge_tl.host.training.metrics import cross_validated


def cross_validate(setup: TrainingSetup, folder: Path, listener: Listener) -> FoldsRecord:
    """The accuracies over `recipe.data.folds` folds of train and validation images.

    Finished folds are kept in `folder`, so that a kill costs at most one; those of another recipe or data set are
    not taken for these. Raises `BadInput` where a class has fewer images than folds.
    """
    dataset, recipe = setup.dataset, setup.recipe
    k = recipe.data.folds or 0
    done = folder / "accuracies.json"
    pool = [s for s in dataset.samples if s.split != "test"]
    key = f"{k} folds of {fingerprint(setup, SplitSamples(pool, []))}"
    accuracies: list[float] = distributed.from_main(lambda: _finished(done, key))
    for number, fold in enumerate(plan_folds(dataset, k, recipe.seed)):
        if number < len(accuracies):
            continue
        fitted = fit_split(setup, fold.split, folder / str(number), listener=_ProgressOnly(listener))
        answers = metrics.top1(predict_logits(fitted, setup, fold.held_out))
        accuracies.append(metrics.accuracy(labels_of(fold.held_out), answers))
        n = len(fold.held_out)
        listener.note(f"fold {number + 1} of {k}: accuracy {accuracies[-1]:.4f} on {n} images")
        distributed.wait()
        if distributed.is_main():
            write_json(done, {"key": key, "accuracies": accuracies})
            shutil.rmtree(folder / str(number), ignore_errors=True)
    return cross_validated(accuracies)


class _ProgressOnly(Silent):
    """Shows the progress of a fold, not its notes and epochs: they would be taken for the run's."""

    def __init__(self, listener: Listener) -> None:
        self.progress = listener.progress  # type: ignore[method-assign]


class Fold(NamedTuple):
    """What one fold is fitted on, and the images that it is evaluated on."""

    split: SplitSamples
    held_out: list[Sample]


def plan_folds(dataset: Dataset, k: int, seed: int) -> list[Fold]:
    """Every fold of the cross-validation. Raises `BadInput`, before anything is trained, where a class has too few
    images or groups for one of them."""
    folds = []
    for number, (samples, held_out) in enumerate(datasets.folds(dataset, k, seed), 1):
        units = [{s.unit for s in samples if s.label == i} for i in range(len(dataset.labels))]
        fewest = min(range(len(units)), key=lambda i: len(units[i]))
        what = "groups" if any(s.group for s in samples) else "images"
        if len(units[fewest]) < 2:
            raise BadInput(
                f"class {dataset.labels[fewest]!r}: fold {number} of {k} leaves it {len(units[fewest])} of its "
                f"{what} to learn from, and it needs 2, one of them to choose by. Add images, or use other folds: "
                "data.folds."
            )
        inner = max(min(k, len(units[fewest])), 2)  # a class of k images has fewer than k left to choose by
        train, val = next(datasets.folds(replace(dataset, samples=list(samples)), inner, seed))
        if absent := set(range(len(dataset.labels))) - {s.label for s in train}:
            raise BadInput(
                f"class {dataset.labels[min(absent)]!r}: fold {number} of {k} leaves it nothing to learn from. Add "
                f"{what}, or use other folds: data.folds."
            )
        folds.append(Fold(SplitSamples(train, val), held_out))
    return folds


def _finished(done: Path, key: str) -> list[float]:
    """The accuracies of the folds of `key` that are done; what is there of others goes."""
    record = read_json(done) if done.is_file() else {}
    if record.get("key") == key:
        accuracies: list[float] = record["accuracies"]
        return accuracies
    if record:
        shutil.rmtree(done.parent)
    write_json(done, {"key": key, "accuracies": []})
    return []
