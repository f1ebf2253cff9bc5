"""The table of models: heads, blocks, and what is rebuilt of torchvision's architectures."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import nn

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.host.models import architecture, zoo
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.input_size import check_size, check_takes_size
from edge_tl.host.models.weights import open_pretrained

ROWS = sorted(zoo.ZOO)
DEEP = [name for name in ROWS if zoo.ZOO[name].deep]


@pytest.fixture(scope="module", params=ROWS)
def built(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """Every model with five classes, made once: VGG16 takes seconds. Leave it as it was."""
    return request.param, architecture.build(request.param, 5)


def batch(side: int = 96, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


def test_the_table_has_what_people_fine_tune():
    families = ("mobilenet", "efficientnet", "resnet", "vgg", "inception", "regnet", "shufflenet", "mnasnet",
                "squeezenet", "convnext")  # fmt: skip
    assert all(any(name.startswith(family) for name in ROWS) for family in families)
    assert len(ROWS) == 23
    assert {"mobilenet_v3_small", "mobilenet_v3_large", "vgg16", "vgg16_bn"} == set(DEEP)


def test_the_printed_table_has_the_published_facts():
    table = {entry.name: entry.to_json() for entry in zoo.model_table()}
    assert list(table) == list(zoo.ZOO)
    assert table["mobilenet_v2"] == {
        "name": "mobilenet_v2", "params": 3.5, "image_size": 224, "accuracy": 0.72154,
    }  # fmt: skip
    assert table["inception_v3"]["image_size"] == 299
    for entry in table.values():
        assert 0.5 < entry["accuracy"] < 0.9
        assert 1 < entry["params"] < 140


def test_the_head_is_the_last_linear_layer_and_reads_a_row_of_features(built: tuple[str, nn.Module]):
    name, model = built
    path = architecture.head_path(name)
    head = architecture.get_head(model, path)
    assert [key for key, m in model.named_modules() if isinstance(m, nn.Linear) and "Aux" not in key][
        -1
    ] == path
    assert isinstance(head, nn.Linear)
    assert head.out_features == 5
    assert not model.training
    architecture.set_head(model, path, nn.Identity())
    with torch.inference_mode():
        features = model(batch())
        assert features.shape == (2, head.in_features)
        architecture.set_head(model, path, head)
        assert architecture.feature_width(model, path) == head.in_features
        torch.testing.assert_close(model(batch()), head(features))


def test_the_backbone_is_torchvisions(built: tuple[str, nn.Module]):
    """Same names, same shapes: published weights load into it."""
    name, model = built
    head = architecture.head_path(name)
    # Shapes need no memory; RegNet computes its widths with tensors, which must be real.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        options = {"init_weights": False} if name == "inception_v3" else {}
        theirs = zoo.ZOO[name].build(weights=None, **options)
    ours = {k: v for k, v in shapes(model).items() if not k.startswith((f"{head}.", "AuxLogits.fc"))}
    assert ours.items() <= shapes(theirs).items()
    assert {k.split(".")[0] for k in shapes(theirs).keys() - ours.keys()} <= {head.split(".")[0], "AuxLogits"}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vgg16", "resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_pooled_leaves_out_hidden_classifier_layers_where_there_are_any(name: str):
    model, path = architecture.build(name, 5, pooled=True), architecture.head_path(name, pooled=True)
    linear = [key for key, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    assert linear == [path]
    assert (path == "classifier.0") == (name in DEEP)
    with torch.inference_mode():
        assert model(batch(64)).shape == (2, 5)


def test_hidden_layers_end_in_one_output_a_class():
    model = architecture.build("shufflenet_v2_x0_5", 5, hidden=[32, 16], dropout=0.3)
    head = architecture.get_head(model, "fc")
    assert [type(layer).__name__ for layer in head.children()] == [
        "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.3, 0.3]
    assert architecture.feature_width(model, "fc") == 1024
    with torch.inference_mode():
        assert model(batch(64)).shape == (2, 5)
    assert isinstance(architecture.make_head(7, 2, (), 0.5), nn.Linear)


def test_blocks_are_in_the_order_of_execution_and_hold_every_parameter_once(built: tuple[str, nn.Module]):
    name, model = built
    path = architecture.head_path(name)
    blocks = backbone_blocks(model, path)
    rest = [architecture.get_head(model, path), architecture.auxiliary_head(model) or nn.Identity()]
    held = [id(p) for group in [*blocks, rest] for m in group for p in m.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert all(any(p.ndim > 1 for m in block for p in m.parameters()) for block in blocks)

    ran: list[int] = []
    handles = []
    for index, block in enumerate([*blocks, (architecture.get_head(model, path),)]):
        for module in block:
            note = lambda m, inputs, index=index: ran.append(index)  # noqa: E731
            handles.append(module.register_forward_pre_hook(note))
    with torch.inference_mode():
        model(batch())
    for handle in handles:
        handle.remove()
    assert ran == sorted(ran)
    assert set(ran) == set(range(len(blocks) + 1))


@pytest.mark.parametrize(
    ("name", "count"),
    [("mobilenet_v2", 19), ("resnet18", 9), ("vgg16_bn", 15), ("regnet_x_400mf", 23), ("squeezenet1_1", 9)],
)
def test_a_block_is_what_the_papers_call_one(name: str, count: int):
    """MobileNetV2: a stem, 17 bottlenecks, a last convolution. ResNet-18: a stem, 8 basic blocks. VGG16: 13
    convolutions, two hidden linear layers. RegNetX-400MF: a stem, 22 blocks. SqueezeNet: a stem, 8 fires."""
    assert len(backbone_blocks(architecture.build(name, 3), architecture.head_path(name))) == count


def test_blocks_of_a_head_with_hidden_layers_are_the_same():
    plain, deep = architecture.build("resnet18", 3), architecture.build("resnet18", 3, hidden=[8])
    assert len(backbone_blocks(plain, "fc")) == len(backbone_blocks(deep, "fc"))


def test_squeezenet_gives_what_torchvisions_gives_before_its_relu():
    torch.manual_seed(0)
    model, theirs = architecture.build("squeezenet1_1", 3), tv.squeezenet1_1(num_classes=3).eval()
    theirs.features = model.features
    head, conv = architecture.get_head(model, "classifier.3"), theirs.classifier[1]
    assert isinstance(head, nn.Linear)
    head.load_state_dict({"weight": conv.weight.flatten(1), "bias": conv.bias})
    theirs.classifier[2] = nn.Identity()
    with torch.inference_mode():
        got = model(batch(64))
        torch.testing.assert_close(got, theirs(batch(64)))
    assert (got < 0).any()


def test_inceptions_second_head_works_at_any_size_and_is_torchvisions_at_its_own():
    torch.manual_seed(0)
    model = architecture.build("inception_v3", 3)
    auxiliary = architecture.auxiliary_head(model)
    assert auxiliary is not None
    theirs = tv.inception_v3(num_classes=3, init_weights=False).AuxLogits
    theirs.load_state_dict(auxiliary.state_dict())
    middle = torch.rand(2, 768, 17, 17)
    torch.testing.assert_close(auxiliary.eval()(middle), theirs.eval()(middle))
    for side in (75, 128):
        logits, aux = model.train()(batch(side, 4))
        assert logits.shape == aux.shape == (4, 3)
    assert model.eval()(batch(75)).shape == (2, 3)
    assert architecture.auxiliary_head(architecture.build("resnet18", 3)) is None


def test_inception_reads_the_input_range_of_the_other_models():
    """torchvision's published weights are Google's, trained on [-1, 1]; the change of range is in the model."""
    assert architecture.build("inception_v3", 3).transform_input


@pytest.mark.parametrize("name", [n for n in ROWS if "vgg" not in n and "efficientnet_b" not in n])
def test_a_plain_dictionary_of_tensors_loads(name: str):
    """As safetensors gives it: without the metadata that torch hangs on a state dict."""
    saved = architecture.build(name, 3, hidden=[8])
    state = {key: value.clone() for key, value in saved.state_dict().items()}
    loaded = architecture.build(name, 3, hidden=[8])
    loaded.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(loaded(batch()), saved(batch()))


def test_sizes_that_vanish_are_refused():
    check_size("inception_v3", 75)
    check_size("mobilenet_v2", 32)
    with pytest.raises(BadInput, match="64: inception_v3 needs at least 75 pixels"):
        check_size("inception_v3", 64)


def test_sizes_that_a_transformer_cannot_take_are_refused_with_those_it_can():
    pytest.importorskip("timm")
    name = "timm:vit_tiny_patch16_224"
    model = architecture.build(name, 2)
    check_takes_size(model, name, 224)
    with pytest.raises(
        BadInput, match=r"image size 96: timm:vit_tiny_patch16_224 cannot take it \(.*224.*\)"
    ) as caught:
        check_takes_size(model, name, 96)
    assert str(caught.value).endswith("It takes 224 pixels.")
    with pytest.raises(BadInput, match="image size 160"):  # before anything is read
        open_pretrained(name, "none", ContractChanges(image_size=160))


class Sums(nn.Module):
    """A network that must see numbers: shapes alone cannot follow it. It fails below 64 pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.max_pool2d(x, 64)
        return pooled.sum() * x.mean((2, 3)) if float(x.sum()) >= 0 else x.mean((2, 3))


def test_what_shapes_cannot_follow_is_computed():
    check_takes_size(Sums(), "sums", 64)
    with pytest.raises(BadInput, match="image size 48: sums cannot take it"):
        check_takes_size(Sums(), "sums", 48)


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", "inception_v3", "shufflenet_v2_x0_5"])
def test_usual_networks_take_any_size(name: str):
    model = architecture.build(name, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for size in (96, 161):
        check_takes_size(model, name, size)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "near"), [("mobilenetv2", "mobilenet_v2"), ("MobileNet_V2", "mobilenet_v2"), ("xyz", None)]
)
def test_an_unknown_model_is_refused_with_the_nearest(name: str, near: str | None):
    with pytest.raises(BadInput, match=f"unknown model '{name}'") as caught:
        architecture.build(name, 2)
    assert (f"Nearest: {near}." if near else "'. See `edge-tl models`") in str(caught.value)
    assert len(str(caught.value)) < 120


def test_without_timm_its_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"edge-tl\[timm\]"):
        architecture.build("timm:resnet18", 2)
    architecture.build("shufflenet_v2_x0_5", 2)  # the table needs no timm


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilenetv4_conv_smal", "Nearest: timm:mobilenetv4_conv_small,"),
        ("mobilenetv4_conv_small.nothing", r"Nearest: timm:mobilenetv4_conv_small\.e"),
        ("", "unknown model 'timm:'"),
        ("resnetv2_50", "no linear layer: Conv2d"),
        ("deit_tiny_distilled_patch16_224", "has not one head"),
    ],
)
def test_timm_models_that_cannot_be_used_are_refused(name: str, words: str):
    pytest.importorskip("timm")
    with pytest.raises(BadInput, match=words):
        architecture.build(f"timm:{name}", 2)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
def test_timm_models_have_heads_and_blocks_like_the_others(name: str):
    """A class token and positions are no module's; they are trained, so they are in a block."""
    pytest.importorskip("timm")
    model, path = architecture.build(f"timm:{name}", 3, hidden=[8]), architecture.head_path(f"timm:{name}")
    blocks: list[Any] = [*backbone_blocks(model, path), (architecture.get_head(model, path),)]
    held = [id(p) for block in blocks for m in block for p in m.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert len(blocks) > 4
    side = 224 if name.startswith("vit") else 64
    with torch.inference_mode():
        assert model(batch(side)).shape == (2, 3)
