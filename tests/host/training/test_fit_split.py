"""What a training is given: images as the device will see them, where nothing is cropped at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BadImage
from edge_tl.host.demo import write_digits
from edge_tl.host.images import augment
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.pixel_cache import ShrinkShorterSide
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import open_pretrained
from edge_tl.host.recipe import load as recipes
from edge_tl.host.runs.new_record import TrainingFacts
from edge_tl.host.runs.record import EpochRecord
from edge_tl.host.training import fit_split
from edge_tl.host.training.evaluate import FittedModel, predict_logits
from edge_tl.host.training.finetune import finetune
from edge_tl.host.training.job import Position, TrainingJob, TrainingSetup


class Given(Exception):
    """Ends the run where training would begin."""


def given(images: Path, out: Path, monkeypatch: pytest.MonkeyPatch, preset: str, size: int) -> TrainingJob:
    """The job of a run with that preset."""

    def fit(job: TrainingJob, *_: Any, **__: Any) -> None:
        jobs.append(job)
        raise Given

    jobs: list[TrainingJob] = []
    monkeypatch.setattr(fit_split.train, "fit", fit)
    recipe = recipes.parse(
        {
            "data": {"path": str(images)},
            "model": {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 48},
            "train": {"strategy": "full", "image_sizes": [size]},
            "augment": {"preset": preset},
        }
    )
    with pytest.raises(Given):
        finetune(recipe, out)
    return jobs[0]


def test_without_augmentation_it_trains_on_the_devices_pixels(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = given(images, tmp_path / "run", monkeypatch, "none", 48)
    transform = augment.image_transform(job.recipe.augment, 48, job.contract)
    for i, name in enumerate(job.names):
        pixels = transform(job.train[i]).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels, job.contract.pixels(images / name))


@pytest.mark.parametrize("size", [32, 64])
def test_other_training_sizes_show_the_same_frame(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
):
    """Larger ones are read as large as they are shown."""
    job = given(images, tmp_path / "run", monkeypatch, "none", size)
    at_size = augment.contract_at_size(job.contract, size)
    assert min(job.train[0].shape[1:]) == max(min(at_size.resize_size), min(job.contract.resize_size))
    pixels = (
        augment.image_transform(job.recipe.augment, size, job.contract)(job.train[0]).permute(1, 2, 0).numpy()
    )
    want = at_size.pixels(images / job.names[0])
    assert pixels.shape == want.shape
    assert np.abs(pixels.astype(int) - want).mean() < 12


def test_random_crops_are_of_the_whole_image(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = given(images, tmp_path / "run", monkeypatch, "light", 48)
    want = ShrinkShorterSide(max(48, min(job.contract.resize_size)), job.contract.interpolation)(
        images / job.names[0]
    )
    np.testing.assert_array_equal(job.train[0].permute(1, 2, 0).numpy(), want)


def test_it_says_which_epoch_was_kept_and_why():
    history = [
        EpochRecord("full", number, 10, 0.5, 0.5, 0.8, 0.01, 64, 50.0, 2.0, best=number == 4)
        for number in range(1, 7)
    ]
    found = fit_split._kept_epoch(
        Position(best=0.88, best_epoch=4, start=0.84, history=history), 10, 200, solved=True
    )
    assert found.to_json() == {
        "epoch": 4, "trained": 6, "planned": 10, "val_accuracy": 0.88, "start_val_accuracy": 0.84, "n_val": 200,
        "reason": "kept epoch 4 of 6: 88.00 % of 200 validation images, 84.00 % with the solved head before the first "
        "epoch; stopped early, 10 epochs were planned",
    }  # fmt: skip
    start = Position(best=0.84, best_epoch=0, start=0.84, history=history)
    assert fit_split._kept_epoch(start, 6, 200, solved=True).reason == (
        "kept the solved head: none of 6 epochs was better than its 84.00 % of 200 validation images"
    )
    assert "kept the new head" in fit_split._kept_epoch(start, 6, 200, solved=False).reason


def test_a_small_set_keeps_the_statistics_of_its_weights(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert given(images, tmp_path / "run", monkeypatch, "none", 48).batch_norm == "frozen"


def test_an_image_that_went_bad_is_named_and_its_neighbour_does_not_get_its_label(tmp_path: Path):
    """Judged without it, logits and labels were of different lengths."""
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    (tmp_path / "1.png").write_text("text")
    samples = [Sample(f"{i}.png", i % 2, str(i), "test") for i in range(3)]
    source = open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=64))
    fitted = FittedModel(source.model, TrainingFacts("full", ""))
    setup = TrainingSetup(recipes.parse({}), source, Dataset(tmp_path, ["a", "b"], samples), None)
    with pytest.raises(BadImage, match=r"1\.png: not an image"):
        predict_logits(fitted, setup, samples)


@pytest.mark.slow
def test_a_random_backbone_is_evaluated_by_statistics_that_followed_it(tmp_path: Path):
    """Its training loss fell to 0.9 while every validation image got one answer: the averaged weights, and BatchNorm's
    statistics at the architecture's rate of 0.01, were far behind."""
    write_digits(tmp_path / "digits")
    recipe = recipes.parse({
        "data": {"path": str(tmp_path / "digits")},
        "model": {"name": "mobilenet_v3_small", "weights": "none", "image_size": 32},
        "train": {"strategy": "full", "epochs": 5},
        "augment": {"preset": "none"},
    })  # fmt: skip
    assert finetune(recipe, tmp_path / "run").record.metrics.accuracy > 0.4
