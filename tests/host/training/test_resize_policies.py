"""Every resize policy through a whole run: trained, evaluated and read back as its contract says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edge_tl.device.images.loader import load_batches
from edge_tl.host.images import augment
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint
from edge_tl.host.training import decoded
from edge_tl.host.training.finetune import finetune

POLICIES = ("exact", "letterbox", "five-crop")


def recipe(images: Path, policy: str, **train: object) -> Recipe:
    return recipes.parse(
        {
            "data": {"path": str(images)},
            "model": {
                "name": "mobilenet_v3_small",
                "weights": "embedded",
                "image_size": 48,
                "resize_size": 56,
                "resize": policy,
            },
            "train": train,
        }
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("strategy", ["head", "partial"])
def test_a_run_is_evaluated_as_its_contract_says(
    images: Path, tmp_path: Path, policy: str, strategy: str
) -> None:
    """The recorded accuracy is that of the loaded model on the contract's own pixels."""
    more = {} if strategy == "head" else {"epochs": 1, "blocks": 1}
    result = finetune(recipe(images, policy, strategy=strategy, **more), tmp_path / "run")
    model, record = checkpoint.load_run(result.run)
    dataset = record.dataset()
    samples = dataset.split("test")
    (batch,) = load_batches(record.preprocess, dataset.sources(samples), size=len(samples))
    with torch.inference_mode():
        answers = model(torch.from_numpy(batch.inputs)).argmax(1).numpy()
    accuracy = float(np.mean(answers == [s.label for s in samples]))
    assert record.metrics.accuracy == pytest.approx(accuracy, abs=1.01 / len(samples))  # OpenVINO's last bits
    side = 56 if policy == "five-crop" else 48
    assert batch.inputs.shape[2:] == (side, side)


def test_hidden_layers_are_evaluated_crop_by_crop(images: Path, tmp_path: Path) -> None:
    asked = recipe(images, "five-crop", strategy="head").model_copy(
        update={"head": recipes.parse({"head": {"hidden": [16], "epochs": 3}}).head}
    )
    record = finetune(asked, tmp_path / "run").record
    assert record.preprocess.five_crop == (48, 48)


@pytest.mark.parametrize("preset", ["none", "light"])
@pytest.mark.parametrize("policy", ["exact", "letterbox"])
def test_augmentation_sees_the_policys_frame(images: Path, tmp_path: Path, policy: str, preset: str) -> None:
    """A wide image, read for training, has the device's bars or its squeeze; without random crops it is the device's
    image, pixel by pixel."""
    asked = recipe(images, policy).model_copy(
        update={"augment": recipes.parse({"augment": {"preset": preset}}).augment}
    )
    from edge_tl.host.models.contracts import EMBEDDED_CONTRACT, ContractChanges, changed_contract

    contract = changed_contract(EMBEDDED_CONTRACT, ContractChanges.of(asked.model))
    path = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)).save(path)
    read = decoded.training_reader(asked, contract, 48)(path)
    assert np.array_equal(read, contract.pixels(path))
    if preset == "none":
        made = augment.image_transform(asked.augment, 48, contract)(
            torch.from_numpy(read.copy()).permute(2, 0, 1)
        )
        assert np.array_equal(made.permute(1, 2, 0).numpy(), read)
