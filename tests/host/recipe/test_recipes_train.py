"""Every recipe of a classic set-up trains: one step of it on a few tiny images, from random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_tl.host.models import architecture
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.models.weights import open_pretrained
from edge_tl.host.recipe import builtin, load
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint
from edge_tl.host.training import strategy

FEWER = "--set model.weights=none --set train.workers=0 --set train.ema=0".split()
TINY = ["--set", "model.image_size=32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four noisy images of 32 px: fewer than a batch, so an epoch is one step."""
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (root / name).mkdir()
        for i in range(4):
            pixels = np.clip(noise.normal(level, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def train(run_cli: Callable[..., Any], images: Path, tmp_path: Path) -> Callable[..., Any]:
    """The record of the run that `edge-tl finetune RECIPE` makes of the images, with `settings` beside."""

    def run(recipe: str, *settings: str) -> Any:
        sets = [part for each in settings for part in ("--set", each)]
        done = run_cli(
            "finetune",
            recipe,
            "--set",
            f"data.path={images}",
            *FEWER,
            *TINY,
            *sets,
            "--out",
            tmp_path / "run",
            "--json",
        )
        assert done.code == 0, done.err
        return json.loads((tmp_path / "run" / checkpoint.RECORD).read_text("utf-8"))

    return run


def of(name: str) -> Recipe:
    """The recipe as written; it opens with the command that runs it."""
    assert f"#     edge-tl finetune {name} --set data.path=FOLDER\n" in builtin.get(name).read_text("utf-8")
    return load.parse(load.read_settings(builtin.get(name)))


def test_resnet18_on_cifar10_with_a_frozen_backbone_and_sgd(train: Callable[..., Any], tmp_path: Path):
    recipe = of("cifar10-resnet18-frozen-sgd")
    assert (recipe.model.name, recipe.train.optimizer, recipe.train.blocks) == ("resnet18", "sgd", 0)
    record = train("cifar10-resnet18-frozen-sgd", "train.epochs=1")
    assert (record["model"], record["strategy"]) == ("resnet18", "partial")
    assert [epoch["stage"] for epoch in record["history"]] == ["head"]
    torch.manual_seed(recipe.seed)
    before = open_pretrained("resnet18", "none").model.state_dict()
    after = checkpoint.load_run(tmp_path / "run")[0].state_dict()
    same = {
        key
        for key in before
        if before[key].shape == after[key].shape and torch.equal(before[key], after[key])
    }
    assert before.keys() - same == {"fc.weight", "fc.bias"}, (
        "of the backbone nothing has moved, statistics neither"
    )


def test_resnet50_with_a_hidden_layer_of_128(train: Callable[..., Any], tmp_path: Path):
    assert of("resnet50-dense128").head.hidden == [128]
    record = train("resnet50-dense128", "head.epochs=1")
    assert (record["model"], record["strategy"], record["hidden"]) == ("resnet50", "head", [128])
    head = architecture.get_head(checkpoint.load_run(tmp_path / "run")[0], "fc")
    assert [
        (layer.in_features, layer.out_features)
        for layer in head.children()
        if isinstance(layer, torch.nn.Linear)
    ] == [
        (2048, 128),
        (128, 2),
    ]


@pytest.mark.slow
def test_vgg16_with_a_hidden_layer_of_1024_shear_zoom_and_flip(train: Callable[..., Any], tmp_path: Path):
    augment = of("vgg16-dense1024-augmented").augment
    assert min(augment.shear or 0, augment.zoom or 0, augment.flip or 0) > 0
    record = train(
        "vgg16-dense1024-augmented", "train.epochs=1", "head.epochs=1", "model.image_size=224"
    )  # of other sizes the pooling before the classifier cannot be exported
    assert (record["model"], record["strategy"], record["hidden"]) == ("vgg16", "partial", [1024])
    assert [epoch["stage"] for epoch in record["history"]] == ["head"]


def test_gradual_unfreezing_in_two_stages(train: Callable[..., Any]):
    recipe = of("gradual-unfreezing").train
    blocks = len(backbone_blocks(architecture.build("mobilenet_v2", 2), "classifier.1"))
    first, second = strategy.stages(recipe.strategy, blocks, recipe)
    assert (first.epochs, first.first, second.epochs, second.first) == (3, blocks - 4, 6, 0)
    record = train("gradual-unfreezing", "train.epochs=2")
    assert record["strategy"] == "gradual"
    assert [epoch["stage"] for epoch in record["history"]] == ["last blocks", "all blocks"]


@pytest.mark.slow
def test_efficientnet_and_mobilenet_strategies_side_by_side(
    run_cli: Callable[..., Any], images: Path, tmp_path: Path
):
    name = "efficientnet-mobilenet-strategies"
    text, models = builtin.get(name).read_text("utf-8"), "--models efficientnet_b0,mobilenet_v2"
    command = f"edge-tl compare {name} --set data.path=FOLDER {models} --strategies head,partial,full"
    assert f"#     {command}\n" in text
    done = run_cli(
        "compare", name, *models.split(), "--strategies", "head,partial", "--set", f"data.path={images}", *FEWER, *TINY,
        "--epochs", "1", "--out", tmp_path / "compared", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    trials = done.json["trials"]
    assert {(trial["model"], trial["strategy"]) for trial in trials} == {
        (model, each) for model in ("efficientnet_b0", "mobilenet_v2") for each in ("head", "partial")
    }
    assert {trial["state"] for trial in trials} == {"complete"}


@pytest.mark.parametrize("strategy_name", ["partial", "gradual"])
def test_no_block_at_all_is_a_stage_of_the_head_alone(strategy_name: str):
    train = Recipe().train.model_copy(update={"blocks": 0, "epochs": 3, "lr": 0.1, "head_lr": 0.5})
    first, *rest = strategy.stages(strategy_name, 10, train)
    assert (first.name, first.first) == ("head", 10)
    assert [stage.name for stage in rest] == (["all blocks"] if strategy_name == "gradual" else [])
