"""What is trained when: choices, stages, frozen bits, rates and schedules, against PyTorch's own."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

from edge_tl.device.format import percentage
from edge_tl.host.models import architecture
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.recipe.schema import Train
from edge_tl.host.runs.record import BatchNormMode
from edge_tl.host.training import strategy
from edge_tl.host.training.strategy import Stage, choose_strategy, factor, stages

STRATEGIES = ["partial", "full", "lp-ft", "gradual"]


@pytest.mark.parametrize(
    ("per_class", "accuracy", "transferred", "expected", "words"),
    [
        (500, 0.5, False, "full", "random"),
        (5, 1.0, False, "full", "random"),
        (500, 0.99, True, "head", "little left to gain"),
        (9, 0.5, True, "head", "too few"),
        (10, 0.5, True, "partial", "last blocks"),
        (39, 0.98, True, "partial", "last blocks"),
        (40, 0.98, True, "lp-ft", "solved head"),
        (199, 0.0, True, "lp-ft", "solved head"),
        (200, 0.98, True, "full", "together"),
        (5000, 0.0, True, "full", "together"),
    ],
)
def test_auto_is_decided_by_images_and_what_the_head_reaches(
    per_class: int, accuracy: float, transferred: bool, expected: str, words: str
):
    choice = choose_strategy("auto", per_class=per_class, head_accuracy=accuracy, transferred=transferred)
    assert choice.strategy == expected
    assert words in choice.reason
    if transferred:
        assert f"{per_class} training images a class" in choice.reason
        assert percentage(accuracy, 1) in choice.reason


@pytest.mark.parametrize("asked", ["head", *STRATEGIES])
def test_what_is_asked_for_is_not_second_guessed(asked: str):
    choice = choose_strategy(asked, per_class=1, head_accuracy=1.0, transferred=False)
    assert (choice.strategy, choice.reason) == (asked, "asked for")


def test_stages_of_every_strategy():
    train = Train(epochs=6, lr=0.1, head_lr=0.5, blocks=3)
    assert stages("head", 10, train) == []
    assert stages("partial", 10, train) == [Stage("last blocks", 6, 7, 0.1, 0.5, 1.0)]
    assert (
        stages("full", 10, train) == stages("lp-ft", 10, train) == [Stage("all blocks", 6, 0, 0.1, 0.5, 1.0)]
    )
    first, second = stages("gradual", 10, train)
    assert (first.first, second.first, first.epochs + second.epochs) == (7, 0, 6)
    assert second.lr < first.lr
    assert first.layer_decay < 1
    assert stages("partial", 2, train)[0].first == 0  # fewer blocks than asked for
    assert len(stages("gradual", 10, Train(epochs=1))) == 1


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_recipe_overrides_every_default(name: str, optimizer: str):
    plain = stages(name, 10, Train(optimizer=optimizer))  # type: ignore[arg-type]
    assert all(s.epochs > 0 < s.lr < 0.1 and 0 < s.head_lr < 0.1 for s in plain)
    train = Train(optimizer=optimizer, epochs=11, lr=0.3, head_lr=0.7, layer_decay=0.5)  # type: ignore[arg-type]
    own = stages(name, 10, train)
    assert sum(stage.epochs for stage in own) == 11
    assert (own[0].lr, own[0].head_lr, own[0].layer_decay) == (0.3, 0.7, 0.5)


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    found = {name: architecture.build(name, 3) for name in ("mobilenet_v2", "resnet18")}
    for (
        model
    ) in found.values():  # statistics as of a trained network: without them no gradient reaches the input
        model.train()
        with torch.no_grad():
            for _ in range(30):
                model(torch.randn(8, 3, 32, 32))
    return found


def test_few_images_do_not_estimate_statistics():
    modes: tuple[BatchNormMode, ...] = ("train", "frozen")
    few: dict[str, Any] = {"images": 240, "transferred": True}
    assert strategy.batch_norm("auto", **few) == "frozen"
    assert strategy.batch_norm("auto", images=5000, transferred=True) == "train"
    assert strategy.batch_norm("auto", images=240, transferred=False) == "train"  # there are none to keep
    assert [strategy.batch_norm(asked, **few) for asked in modes] == ["train", "frozen"]


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.parametrize("kind", STRATEGIES)
def test_frozen_blocks_keep_every_bit_and_the_others_move(
    models: dict[str, nn.Module], kind: str, name: str, batch_norm: str
):
    """Parameters and BatchNorm's buffers, over real steps; weight decay and momentum must not reach them either."""
    model = copy.deepcopy(models[name])
    blocks = backbone_blocks(model, architecture.head_path(name))
    settings = Train(optimizer="sgd", epochs=2, blocks=2, lr=0.05, weight_decay=0.1, layer_decay=1.0)
    inputs, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    for stage in stages(kind, len(blocks), settings):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        strategy.freeze_blocks(model, blocks, stage.first)
        optimizer = strategy.optimizer(model, blocks, stage, settings)
        for _ in range(2):
            strategy.train_mode(model, blocks, stage.first, batch_norm)
            cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        kept = {
            id(t) for b in blocks[: stage.first] for m in b for t in m.state_dict(keep_vars=True).values()
        }
        statistics = [0, 0]
        for key, value in model.state_dict(keep_vars=True).items():
            same = torch.equal(value, before[key])
            buffer = key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            if id(value) in kept or (buffer and batch_norm == "frozen"):
                assert same, key
            elif not buffer:
                assert not same, key
            else:
                statistics[same] += 1
        # The last statistics of a block may be those of a channel count that never saw variance; most must move.
        assert (statistics[0] > statistics[1]) == (batch_norm == "train")
        assert bool(kept) == (stage.first > 0)


def test_dropout_of_frozen_blocks_stands_still_and_the_heads_does_not():
    model = architecture.build("mobilenet_v2", 2, hidden=(8,), dropout=0.5)
    blocks = backbone_blocks(model, architecture.head_path("mobilenet_v2"))
    frozen = nn.Dropout(0.5)
    strategy.train_mode(model, [(frozen,), *blocks], 1, "frozen")
    assert not frozen.training
    head = architecture.get_head(model, architecture.head_path("mobilenet_v2"))
    assert [m.training for m in head.modules() if isinstance(m, nn.Dropout)] == [True]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "convnext_tiny", "inception_v3"])
@pytest.mark.parametrize("first", [0, 2])
def test_every_trained_parameter_has_one_rate_and_one_decay(name: str, first: int):
    with torch.device("meta"):
        model = architecture.build(name, 3)
    blocks = backbone_blocks(model, architecture.head_path(name))
    stage = Stage("x", 1, first, lr=0.1, head_lr=0.9, layer_decay=0.5)
    strategy.freeze_blocks(model, blocks, first)
    optimizer = strategy.optimizer(
        model, blocks, stage, Train(optimizer="sgd", weight_decay=0.03, momentum=0.8)
    )
    owner = {id(p): i for i, block in enumerate(blocks) for m in block for p in m.parameters()}
    placed: list[int] = []
    for group in optimizer.param_groups:
        assert group["lr"] == group["peak"]
        assert (group["momentum"], group["nesterov"]) == (0.8, True)
        for parameter in group["params"]:
            placed.append(id(parameter))
            distance = len(blocks) - 1 - owner[id(parameter)] if id(parameter) in owner else None
            assert group["lr"] == pytest.approx(0.9 if distance is None else 0.1 * 0.5**distance)
            scale = parameter.numel() == parameter.shape[0]  # ConvNeXt's is (channels, 1, 1)
            assert group["weight_decay"] == (0.03 if parameter.ndim > 1 and not scale else 0.0)
    assert len(placed) == len(set(placed))
    assert set(placed) == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in model.parameters()} - set(placed) == {i for i, b in owner.items() if b < first}


@pytest.mark.parametrize("name", ["convnext_tiny", "vit_b_16", "swin_v2_t"])
def test_only_what_multiplies_its_input_decays(name: str):
    """Not a scale of shape (channels, 1, 1), a position, a class token, a temperature, a table of positions."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(num_classes=3)
    decayed = strategy.decays(model)
    kinds = {key.rpartition(".")[2]: id(p) in decayed for key, p in model.named_parameters() if p.ndim > 1}
    assert kinds.pop("weight")
    assert kinds.pop("in_proj_weight", True)
    assert set(kinds.values()) == {False}, kinds
    assert not [key for key, p in model.named_parameters() if p.ndim < 2 and id(p) in decayed]


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "cait_xxs24_224", "volo_d1_224", "resmlp_12_224", "mobilenetv4_conv_small"],
)
def test_what_decays_is_what_timm_says(name: str):
    from timm.optim._param_groups import param_groups_weight_decay

    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3)
    own = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    groups = param_groups_weight_decay(model, 0.1, no_weight_decay_list=own)
    expected = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {id(p): key for key, p in model.named_parameters()}
    affine = {i for i in expected if names[i].endswith((".alpha", ".beta"))}  # a norm by another name
    assert strategy.decays(model) == expected - affine


def test_adamw_is_decoupled_and_has_its_own_decay():
    model = architecture.build("mobilenet_v3_small", 2)
    blocks = backbone_blocks(model, architecture.head_path("mobilenet_v3_small"))
    train = Train(optimizer="adamw")
    optimizer = strategy.optimizer(model, blocks, stages("full", len(blocks), train)[0], train)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.01}


def rates(schedule: LRScheduler, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.fixture
def plain() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize("steps", [7, 100])
def test_cosine_is_pytorchs(plain: torch.optim.SGD, steps: int):
    want = rates(CosineAnnealingLR(plain, steps), plain, steps)
    got = [factor("cosine", 0.0, step / steps) for step in range(steps)]
    assert got == pytest.approx(want, abs=1e-9)
    assert factor("cosine", 0.0, 1.0) == 0


def test_a_linear_warm_up_comes_before_the_cosine(plain: torch.optim.SGD):
    steps, warm = 200, 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR passes an epoch, which PyTorch deprecates
        both = [LinearLR(plain, 1e-3, 1.0, warm), CosineAnnealingLR(plain, steps - warm)]
        want = rates(SequentialLR(plain, both, [warm]), plain, steps)
    got = [factor("cosine", warm / steps, step / steps) for step in range(steps)]
    assert got == pytest.approx(want, abs=1.1e-3)
    assert got[0] == 1e-3
    assert max(got) == got[warm] == 1.0


def test_one_cycle_is_pytorchs(plain: torch.optim.SGD):
    steps = 1000
    want = rates(OneCycleLR(plain, max_lr=1.0, total_steps=steps), plain, steps)
    got = [factor("one-cycle", 0.1, step / (steps - 1)) for step in range(steps)]
    assert got == pytest.approx(want, abs=0.006)  # PyTorch turns one step earlier
    assert got[0] == pytest.approx(want[0])
    assert got[-1] == pytest.approx(want[-1], abs=1e-9) == pytest.approx(4e-6)
    late = [factor("one-cycle", 0.6, step / 100) for step in range(101)]
    assert late.index(max(late)) == 60


def test_constant_is_constant_after_its_warm_up():
    got = [factor("constant", 0.25, step / 100) for step in range(101)]
    assert got[:25] == pytest.approx([max(step / 25, 1e-3) for step in range(25)])
    assert set(got[25:]) == {1.0}


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.999])
def test_a_rate_is_always_a_fraction(schedule: str, warmup: float):
    got = [factor(schedule, warmup, step / 997) for step in range(998)]
    assert all(0 <= value <= 1 for value in got)
    assert all(value > 0 for value in got[:-1])
