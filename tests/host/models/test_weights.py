"""Weights read without trust, and their contracts against torchvision's and timm's own transforms."""

from __future__ import annotations

import dataclasses
import functools
import io
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host.models import architecture, timm_models, weights, zoo
from edge_tl.host.models.contracts import ContractChanges

ROWS = sorted(zoo.ZOO)
SHARED = Path(__file__).parents[4] / "shared" / "weights"
SMALL = "mobilenet_v3_small"
# Pairs that share most of their layers' names and shapes.
TWINS = [("efficientnet_b0", "efficientnet_b1"), ("vgg16", "vgg16_bn"), ("mnasnet0_5", "mnasnet1_0"),
         ("squeezenet1_0", "squeezenet1_1"), ("resnet18", "resnet50")]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random 1,000-class checkpoint of torchvision's own architecture; of VGG without its 500 MB of hidden
    classifier layers."""
    folder = tmp_path_factory.mktemp("weights")

    @functools.cache
    def path(name: str) -> Path:
        torch.manual_seed(0)
        options = {"init_weights": False} if name.startswith(("inception", "vgg")) else {}
        state = zoo.ZOO[name].build(weights=None, **options).state_dict()
        if name.startswith("vgg"):
            state = {k: v for k, v in state.items() if k.startswith("features.")}
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
        return folder / f"{name}.safetensors"

    return path


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No network and an empty torch.hub cache; the folder where downloads would go."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise URLError("no route to host")

    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (301, 437, 3), np.uint8))


def outputs(model: nn.Module, head: str) -> torch.Tensor:
    """What reaches the head, for a fixed input."""
    seen: list[torch.Tensor] = []
    handle = architecture.get_head(model, head).register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[0])
    )
    with torch.inference_mode():
        model.eval()(torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", ROWS)
def test_the_contract_gives_the_pixels_of_torchvisions_transforms(
    name: str, monkeypatch: pytest.MonkeyPatch, published: Callable[[str], Path]
):
    image, row = picture(), zoo.zoo_entry(name)
    assumed = weights.open_pretrained(name, str(published(name)))
    np.testing.assert_array_equal(assumed.contract.apply(image), row.contract.transforms()(image).numpy())
    # `imagenet`: the published transforms of exactly those weights, here without their download.
    state = safetensors.torch.load_file(published(name))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: state)
    source = weights.open_pretrained(name, "imagenet")
    np.testing.assert_array_equal(source.contract.apply(image), row.imagenet.transforms()(image).numpy())
    assert source.head == architecture.head_path(name, pooled=source.pooled)
    assert torch.equal(outputs(source.model, source.head), outputs(assumed.model, source.head))


def test_another_image_size_keeps_the_proportion_of_resize_and_crop():
    contract = weights.open_pretrained("mobilenet_v2", "none", ContractChanges(image_size=112)).contract
    assert (contract.resize_size, contract.crop) == ((128, 128), (112, 112))
    exact = weights.open_pretrained(
        "mobilenet_v2", "none", ContractChanges(image_size=112, resize="exact")
    ).contract
    assert exact.apply(picture()).shape == (3, 112, 112)
    want = np.asarray(picture().resize((112, 112), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(exact.pixels(picture()), want)


@pytest.mark.parametrize(
    "kind", ["safetensors", "pth", "state_dict", "module.", "_orig_mod.", "module._orig_mod.", "half"]
)
def test_weights_come_back_as_they_were_saved(kind: str, tmp_path: Path, published: Callable[[str], Path]):
    state = safetensors.torch.load_file(published(SMALL))
    model = zoo.ZOO[SMALL].build()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict(state)
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    elif kind == "state_dict":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        prefix = kind if kind.endswith(".") else ""
        torch.save({prefix + k: v for k, v in state.items()}, path)
    source = weights.open_pretrained(SMALL, str(path))
    assert not source.pooled
    assert source.origin == path.name
    assert torch.equal(outputs(source.model, "classifier.3"), outputs(model, "classifier.3"))


@pytest.mark.parametrize(
    ("name", "other"), [*TWINS, *(pair[::-1] for pair in TWINS), *zip(ROWS, ROWS[5:] + ROWS[:5], strict=True)]
)
def test_weights_of_another_model_are_refused_and_the_right_one_is_named(
    name: str, other: str, published: Callable[[str], Path]
):
    with pytest.raises(BadInput, match=rf"not {name}: .* It fits --model {other}\."):
        weights.open_pretrained(name, str(published(other)))


def test_a_file_of_a_deeper_model_is_not_half_used(tmp_path: Path, published: Callable[[str], Path]):
    """Every layer that the model asks for is there, and more: ResNet-34 holds all of ResNet-18."""
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(BadInput, match=r"it has no layer1.2.conv1.weight.* Give weights of this model"):
        weights.open_pretrained("resnet18", str(tmp_path / "resnet34.pth"))


def test_counters_beside_the_weights_do_no_harm(tmp_path: Path, published: Callable[[str], Path]):
    """AveragedModel's `n_averaged`, a profiler's totals."""
    state = safetensors.torch.load_file(published(SMALL))
    extra = {"n_averaged": torch.tensor(3), "features.0.0.total_ops": torch.zeros(1)}
    torch.save(state | extra, tmp_path / "w.pth")
    assert weights.open_pretrained(SMALL, str(tmp_path / "w.pth")).origin == "w.pth"


@pytest.mark.parametrize("auxiliary", [True, False])
def test_inceptions_second_head_may_be_absent(
    auxiliary: bool, tmp_path: Path, published: Callable[[str], Path]
):
    state = safetensors.torch.load_file(published("inception_v3"))
    kept = {k: v for k, v in state.items() if auxiliary or not k.startswith("AuxLogits.")}
    safetensors.torch.save_file(kept, tmp_path / "i.safetensors")
    model = weights.open_pretrained("inception_v3", str(tmp_path / "i.safetensors")).model
    got, key = model.state_dict(), "AuxLogits.conv1.conv.weight"
    assert torch.equal(got["Mixed_7c.branch_pool.conv.weight"], state["Mixed_7c.branch_pool.conv.weight"])
    assert torch.equal(got[key], state[key]) == auxiliary
    assert got["AuxLogits.fc.weight"].shape == (2, 768)


def test_weights_without_a_classifier_are_pooled(tmp_path: Path, published: Callable[[str], Path]):
    """Only where the classifier has hidden layers does that change where the head is."""
    for name, head in ((SMALL, "classifier.0"), ("mobilenet_v2", "classifier.1")):
        state = safetensors.torch.load_file(published(name))
        path = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file({k: v for k, v in state.items() if k.startswith("features.")}, path)
        source = weights.open_pretrained(name, str(path))
        assert (source.head, source.pooled) == (head, name == SMALL)


def test_an_image_size_too_small_for_the_model_is_refused():
    with pytest.raises(BadInput, match="inception_v3 needs at least 75 pixels"):
        weights.open_pretrained("inception_v3", "none", ContractChanges(image_size=64))
    assert weights.open_pretrained(
        "inception_v3", "none", ContractChanges(image_size=75)
    ).contract.input_size == (75, 75)


def test_weights_of_no_model_in_the_table_are_refused(tmp_path: Path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(BadInput, match="Give weights of this model"):
        weights.open_pretrained(SMALL, str(tmp_path / "odd.pth"))


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "nested", "safetensors"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(how: str, tmp_path: Path):
    proof, path = tmp_path / "was-run", tmp_path / "evil.pth"
    payload: Any = {"features.0.0.weight": torch.zeros(1), "x": Evil(proof)}
    if how == "nested":
        payload = {"state_dict": payload}
    if how in ("pickle", "safetensors"):
        path = path.with_suffix(".safetensors" if how == "safetensors" else ".pth")
        path.write_bytes(pickle.dumps(Evil(proof)))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(BadInput, match="not a readable weights file") as refused:
        weights.open_pretrained(SMALL, str(path))
    assert "\x1b" not in str(refused.value)
    if how in ("torch", "nested"):
        assert re.search(r"more than tensors: \S+, and reading that would run its code", str(refused.value))
    assert not proof.exists()
    if how == "pickle":  # the payload is not a dud
        pickle.load(io.BytesIO(path.read_bytes())).close()
        assert proof.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\0\0\0\0\0\0\0{}", b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_broken_weights_file_is_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"^(?!.*weights_only)") as caught:
        weights.open_pretrained(SMALL, str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_folders_and_models_are_refused(tmp_path: Path):
    torch.save([1, 2], tmp_path / "list.pth")
    for name, words in (
        ("imagnet", "no such file"),
        (tmp_path, "no such file"),
        ("list.pth", "state dict"),
    ):
        with pytest.raises(BadInput, match=words):
            weights.open_pretrained(SMALL, str(tmp_path / name))
    with pytest.raises(BadInput, match="unknown model 'resnet'") as caught:
        weights.open_pretrained("resnet", "none")
    assert "Nearest: resnet" in str(caught.value)


@pytest.mark.parametrize("name", [SMALL, "inception_v3", "squeezenet1_0"])
def test_imagenet_without_a_network_says_where_to_put_the_file(name: str, offline: Path):
    with pytest.raises(BadInput) as caught:
        weights.open_pretrained(name, "imagenet")
    for words in (zoo.zoo_entry(name).imagenet.url, str(offline), "--weights PATH", "no route to host"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_takes_the_file_from_the_place_it_named(offline: Path, published: Callable[[str], Path]):
    offline.mkdir(parents=True)
    state = safetensors.torch.load_file(published(SMALL))
    torch.save(state, offline / zoo.zoo_entry(SMALL).imagenet.url.rpartition("/")[2])
    source = weights.open_pretrained(SMALL, "imagenet")
    assert torch.equal(source.model.state_dict()["features.0.0.weight"], state["features.0.0.weight"])


def test_the_embedded_weights_are_for_one_model(offline: Path):
    source = weights.open_pretrained(weights.EMBEDDED_MODEL, "embedded")
    assert source.pooled
    assert source.contract.input_size == (64, 64)
    for name in set(ROWS) - {weights.EMBEDDED_MODEL}:
        with pytest.raises(BadInput, match=f"Use --model {weights.EMBEDDED_MODEL}"):
            weights.open_pretrained(name, "embedded")


def test_the_embedded_asset_is_the_shared_file_in_half_precision():
    path = SHARED / "mobilenet_v3_small-tiny64.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the asset's source is shared material, not part of the repository")
    whole = safetensors.torch.load_file(path)
    asset = safetensors.torch.load_file(Path(weights.__file__).parents[1] / "assets" / weights.EMBEDDED_FILE)
    floats = {k for k in whole if k.startswith("features.") and not k.endswith("num_batches_tracked")}
    assert floats <= set(asset)
    assert all(key.startswith("features.") for key in asset)
    for key in floats:
        torch.testing.assert_close(asset[key].float(), whole[key].half().float(), rtol=0, atol=0)
    model = weights.open_pretrained(SMALL, "embedded").model.state_dict()
    assert all(torch.equal(model[key], asset[key].float()) for key in floats)


# timm: models of both crop modes, of interpolations, sizes and normalizations that differ.
TIMM = ["tf_efficientnet_lite0", "mobilenetv4_conv_small", "tf_efficientnetv2_b0", "efficientnet_b1",
        "mobilenetv4_conv_small.e1200_r224_in1k", "convnext_tiny.in12k_ft_in1k_384"]  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_the_contract_gives_the_pixels_of_timms_transform(name: str):
    timm = pytest.importorskip("timm")
    contract = weights.open_pretrained(f"timm:{name}", "none").contract
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    image = picture()
    want = timm.data.create_transform(**config, is_training=False)(image).numpy()
    np.testing.assert_allclose(contract.apply(image), want, rtol=0, atol=1e-6)


def test_timms_crop_fractions_are_rounded_as_timm_does(monkeypatch: pytest.MonkeyPatch):
    timm = pytest.importorskip("timm")
    image = picture()
    for size, fraction, mode in ((224, 0.95, "center"), (240, 0.882, "center"), (224, 0.9, "squash")):
        config = timm.get_pretrained_cfg("mobilenetv4_conv_small")
        changed = {"input_size": (3, size, size), "crop_pct": fraction, "crop_mode": mode}
        config = dataclasses.replace(config, **changed)
        monkeypatch.setattr(timm_models, "timm_config", lambda name, config=config: config)
        options = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
        want = timm.data.create_transform(**options, is_training=False)(image).numpy()
        got = weights.open_pretrained("timm:mobilenetv4_conv_small", "none").contract.apply(image)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"crop_mode": "border"}, {"interpolation": "box"}, {"input_size": (1, 28, 28)}]
)
def test_timms_preprocessing_that_no_contract_holds_is_refused(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    timm = pytest.importorskip("timm")
    config = dataclasses.replace(timm.get_pretrained_cfg("mobilenetv4_conv_small"), **change)
    monkeypatch.setattr(timm_models, "timm_config", lambda name: config)
    with pytest.raises(BadInput, match=f"{next(iter(change))} .* is not supported"):
        weights.open_pretrained("timm:mobilenetv4_conv_small", "none")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timms_weights_come_from_a_file(suffix: str, tmp_path: Path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model, path = timm.create_model("mobilenetv4_conv_small"), tmp_path / f"w{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), path)
    source = weights.open_pretrained("timm:mobilenetv4_conv_small", str(path))
    assert source.head == "classifier"
    assert torch.equal(outputs(source.model, "classifier"), outputs(model, "classifier"))
    with pytest.raises(BadInput, match=r"not timm:tf_efficientnet_lite0: .* Give weights of this model\."):
        weights.open_pretrained("timm:tf_efficientnet_lite0", str(path))


def test_timms_weights_without_a_network_say_what_to_do(monkeypatch: pytest.MonkeyPatch):
    timm = pytest.importorskip("timm")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", refuse)
    with pytest.raises(BadInput, match=r"no route to host\)\. .*--weights PATH") as caught:
        weights.open_pretrained("timm:mobilenetv4_conv_small", "imagenet")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="Use --model"):
        weights.open_pretrained("timm:mobilenetv4_conv_small", "embedded")


def test_timms_published_weights_are_loaded_and_named_with_their_tag(monkeypatch: pytest.MonkeyPatch):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv4_conv_small")
    monkeypatch.setattr(
        timm.models._builder, "load_state_dict_from_hf", lambda *a, **k: dict(model.state_dict())
    )
    source = weights.open_pretrained("timm:mobilenetv4_conv_small", "imagenet")
    assert source.origin == "timm:mobilenetv4_conv_small.e2400_r224_in1k"
    assert torch.equal(outputs(source.model, "classifier"), outputs(model, "classifier"))


def test_a_download_is_announced_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PyTorch says it on stdout, which is one JSON object with --json."""
    torch.save({"weight": torch.zeros(2)}, tmp_path / "tiny.pth")
    url = (tmp_path / "tiny.pth").as_uri()

    class Published:
        def get_state_dict(self, **_: Any) -> Any:
            return torch.hub.load_state_dict_from_url(url, str(tmp_path / "cache"), progress=False)

    assert weights._download(Published()).keys() == {"weight"}
    said = capsys.readouterr()
    assert said.out == ""
    assert "tiny.pth" in said.err
