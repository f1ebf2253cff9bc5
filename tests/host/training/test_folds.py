"""Cross-validation and what a killed run leaves behind: by hand on the same features, and never of another recipe."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listening
from safetensors.torch import load_file

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import Event
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import PretrainedModel, open_pretrained
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Data, Recipe
from edge_tl.host.training import features, folds
from edge_tl.host.training.finetune import finetune
from edge_tl.host.training.job import TrainingSetup, labels_of
from edge_tl.host.training.linear_head import HeadData, solve_linear_head

MODEL = {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 32}


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def folder(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits that look alike at 32 pixels, 15 of each, so that not every fold is perfect."""
    root = tmp_path_factory.mktemp("folds") / "digits"
    for label in "389":
        (root / label).mkdir(parents=True)
        for path in sorted((digits / label).iterdir())[:15]:
            shutil.copy(path, root / label / path.name)
    return root


@pytest.fixture(scope="module")
def source() -> PretrainedModel:
    return open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=32))


@pytest.fixture(scope="module")
def found(
    folder: Path, source: PretrainedModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Dataset, Any]:
    scanned = listing.list_images(folder)
    run = tmp_path_factory.mktemp("runs") / "run"
    cached = features.extract(source, scanned.samples, scanned.sources(), run)
    return datasets.build_dataset(scanned, cached.bad, Data(val=0.15, test=0.2), seed=0), cached


def recipe(k: int = 4, **train: Any) -> Recipe:
    settings = {"strategy": "head", "workers": 0} | train
    return recipes.parse(
        {"data": {"folds": k}, "model": MODEL, "train": settings, "head": {"C": [0.01, 0.1]}}
    )


def cross(
    source: PretrainedModel, found: tuple[Dataset, Any], to: Path, notes: list[str], **changes: Any
) -> Any:
    setup = TrainingSetup(recipe(**changes), source, *found)
    return folds.cross_validate(setup, to, Listening(note=notes.append))


def test_folds_agree_with_doing_them_by_hand(
    source: PretrainedModel, found: tuple[Dataset, Any], tmp_path: Path
):
    notes: list[str] = []
    got = cross(source, found, tmp_path, notes)
    dataset, cached = found
    accuracies = []
    for samples, judged in datasets.folds(dataset, 4, 0):
        seen, choosing = next(datasets.folds(Dataset(dataset.root, dataset.labels, samples), 4, 0))
        data = HeadData(cached.of(seen), labels_of(seen), cached.of(choosing), labels_of(choosing), 3)
        solution = solve_linear_head(data, strengths=[0.01, 0.1])
        answers = solution.answers(cached.of(judged))
        accuracies.append(float(np.mean(answers == labels_of(judged))))
    assert got.accuracies == pytest.approx(accuracies)
    assert (got.k, len(notes)) == (4, 4)
    assert got.mean == pytest.approx(np.mean(accuracies))
    assert got.std == pytest.approx(np.std(accuracies, ddof=1))
    assert min(accuracies) > 0.5  # the folds see what they learn


def test_nothing_is_chosen_by_the_images_it_is_evaluated_on(
    source: PretrainedModel, found: tuple[Dataset, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    used: list[set[str]] = []
    original, predict_logits = folds.fit_split, folds.predict_logits

    def watched(setup: Any, split: Any, *rest: Any, **more: Any) -> Any:
        used.append({s.digest for s in [*split.train, *split.val]})
        return original(setup, split, *rest, **more)

    def checked(fitted: Any, setup: Any, samples: Any) -> Any:
        assert not used[-1] & {s.digest for s in samples}
        return predict_logits(fitted, setup, samples)

    monkeypatch.setattr(folds, "fit_split", watched)
    monkeypatch.setattr(folds, "predict_logits", checked)
    cross(source, found, tmp_path, [])
    test = {s.digest for s in found[0].split("test")}
    assert len(used) == 4
    assert not any(digests & test for digests in used)


@pytest.mark.parametrize("changes", [{}, {"k": 3}, {"balance": "weights"}])
def test_finished_folds_are_not_done_again_and_others_are_not_taken(
    source: PretrainedModel, found: tuple[Dataset, Any], tmp_path: Path, changes: dict[str, Any]
):
    class Killed(BaseException):
        pass

    def stop(text: str) -> None:
        if text.startswith("fold 3"):
            raise Killed

    with pytest.raises(Killed):
        folds.cross_validate(TrainingSetup(recipe(), source, *found), tmp_path, Listening(note=stop))
    assert len(json.loads((tmp_path / "accuracies.json").read_text())["accuracies"]) == 2
    notes: list[str] = []
    got = cross(source, found, tmp_path, notes, **changes)
    assert [note.split(":")[0] for note in notes] == (
        [f"fold {i} of {changes.get('k', 4)}" for i in range(1, changes.get("k", 4) + 1)]
        if changes
        else ["fold 3 of 4", "fold 4 of 4"]
    )
    assert got == cross(source, found, tmp_path / "fresh", [], **changes)


def test_a_class_of_as_many_images_as_folds_is_enough(
    source: PretrainedModel, found: tuple[Dataset, Any], tmp_path: Path
):
    dataset, cached = found
    few = Counter[int]()
    kept = []
    for sample in dataset.samples:
        few[sample.label] += sample.split != "test"
        if sample.label or few[0] <= 4:
            kept.append(sample)
    small = Dataset(dataset.root, dataset.labels, kept)
    assert len(cross(source, (small, cached), tmp_path, []).accuracies) == 4
    with pytest.raises(BadInput, match="5 folds need 5"):
        cross(source, (small, cached), tmp_path / "five", [], k=5)


def test_too_many_folds_are_refused_before_anything_is_trained(folder: Path, tmp_path: Path):
    settings = {"data": {"path": str(folder), "folds": 40}, "model": MODEL, "train": {"strategy": "full"}}
    events: list[Any] = []
    with pytest.raises(BadInput, match="40 folds need 40"):
        finetune(recipes.parse(settings), tmp_path / "run", listener=Listening(event=events.append))
    assert events == []


def test_what_a_killed_run_decoded_is_not_taken_for_other_images(folder: Path, tmp_path: Path):
    """Killed before its first checkpoint, so that nothing forbids another recipe in its folder."""

    def settings(seed: int) -> Recipe:
        train = {"strategy": "partial", "blocks": 1, "epochs": 1, "workers": 0}
        return recipes.parse({"seed": seed, "data": {"path": str(folder)}, "model": MODEL, "train": train})

    def die(event: Event) -> None:
        raise KeyboardInterrupt

    calls = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal calls
        calls += what == "decoding"
        last = what == "decoding" and done == total and calls > 20 and total < 15  # the validation images
        if last:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        finetune(settings(1), run, listener=Listening(progress=progress))
    assert list((run / "decoded").rglob("index.npy"))
    assert not (run / "state.safetensors").exists()
    finetune(settings(2), run)
    finetune(settings(2), tmp_path / "fresh")
    ours, fresh = (load_file(p / "model.safetensors") for p in (run, tmp_path / "fresh"))
    assert all(torch.equal(ours[key], fresh[key]) for key in fresh)
    assert not (run / "decoded").exists()


def test_a_refused_resume_changes_nothing_that_can_be_resumed(folder: Path, tmp_path: Path):
    def settings(lr: float) -> Recipe:
        train = {"strategy": "partial", "blocks": 1, "epochs": 2, "workers": 0, "lr": lr}
        return recipes.parse({"data": {"path": str(folder)}, "model": MODEL, "train": train})

    def die(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(settings(0.01), tmp_path / "run", listener=Listening(event=die))
    with pytest.raises(BadInput, match=r"another recipe; asked for: train\.lr 0\.02 \(there 0\.01\)"):
        finetune(settings(0.02), tmp_path / "run", resumed=True)
    written = recipes.parse(recipes.read_settings(tmp_path / "run" / "recipe.yaml"))
    assert written.train.lr == 0.01
    assert finetune(written, tmp_path / "run", resumed=True).record.strategy == "partial"
