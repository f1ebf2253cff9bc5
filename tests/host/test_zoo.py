"""The table of models: heads, contracts against torchvision's own transforms, and weights read without trust."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from edge_tl.host import zoo
from edge_tl.target.errors import BadInput

ROWS = sorted(zoo.ZOO)
SHARED = Path(__file__).parents[3] / "shared" / "weights"
SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One random 1,000-class checkpoint of every row, as torchvision would publish it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ROWS:
        safetensors.torch.save_file(zoo.ZOO[name].build().state_dict(), folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ROWS}


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


def outputs(model: nn.Module) -> torch.Tensor:
    """What reaches the head, for a fixed input."""
    seen: list[torch.Tensor] = []
    handle = zoo.head_of(model).register_forward_hook(lambda layer, inputs, result: seen.append(inputs[0]))
    with torch.inference_mode():
        model.eval()(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    handle.remove()
    return seen[0]


def test_the_table_has_the_models_of_the_readme():
    assert {"mobilenet_v2", SMALL, "mobilenet_v3_large", "efficientnet_b0"} <= set(ROWS)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_build_gives_an_evaluation_model_whose_head_is_the_last_linear_layer(name: str, pooled: bool):
    model = zoo.build(name, 5, pooled=pooled)
    head = zoo.head_of(model)
    linear = [key for key, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    assert model.get_submodule(linear[-1]) is head
    assert head.out_features == 5
    assert not model.training
    if pooled:
        assert linear == ["classifier.0"]
    else:
        assert linear[-1] == zoo.row(name).head
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("name", ROWS)
def test_the_contract_gives_the_pixels_of_torchvisions_transforms(
    name: str, monkeypatch: pytest.MonkeyPatch, states: dict[str, Path]
):
    image, row = picture(), zoo.row(name)
    assumed = zoo.open_source(name, str(states[name]))
    np.testing.assert_array_equal(assumed.contract.apply(image), row.contract.transforms()(image).numpy())
    # `imagenet`: the published transforms of exactly those weights, here without their download.
    published = safetensors.torch.load_file(states[name])
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: published)
    source = zoo.open_source(name, "imagenet")
    np.testing.assert_array_equal(source.contract.apply(image), row.imagenet.transforms()(image).numpy())
    assert torch.equal(outputs(source.model), outputs(assumed.model))


def test_another_image_size_keeps_the_proportion_of_resize_and_crop():
    contract = zoo.open_source("mobilenet_v2", "none", image_size=112).contract
    assert (contract.resize_size, contract.crop) == ((128, 128), (112, 112))
    exact = zoo.open_source("mobilenet_v2", "none", image_size=112, resize="exact").contract
    assert exact.apply(picture()).shape == (3, 112, 112)
    want = np.asarray(picture().resize((112, 112), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(exact.pixels(picture()), want)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "state_dict", "module", "half"])
def test_weights_come_back_as_they_were_saved(kind: str, tmp_path: Path, states: dict[str, Path]):
    state = safetensors.torch.load_file(states[SMALL])
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
        torch.save({("module." if kind == "module" else "") + k: v for k, v in state.items()}, path)
    source = zoo.open_source(SMALL, str(path))
    assert not source.pooled
    assert source.origin == path.name
    assert torch.equal(outputs(source.model), outputs(model))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("other", ROWS)
def test_weights_of_another_model_are_refused_and_the_right_one_is_named(
    name: str, other: str, states: dict[str, Path]
):
    if name == other:
        assert zoo.open_source(name, str(states[other])).origin == f"{name}.safetensors"
        return
    with pytest.raises(BadInput, match=rf"not {name}: .* It fits --model {other}\."):
        zoo.open_source(name, str(states[other]))


def test_weights_of_no_model_in_the_table_are_refused(tmp_path: Path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(BadInput, match="Give weights of this model"):
        zoo.open_source(SMALL, str(tmp_path / "odd.pth"))


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
    with pytest.raises(BadInput, match="not a readable weights file"):
        zoo.open_source(SMALL, str(path))
    assert not proof.exists()
    if how == "pickle":  # the payload is not a dud
        pickle.load(io.BytesIO(path.read_bytes())).close()
        assert proof.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\0\0\0\0\0\0\0{}", b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_broken_weights_file_is_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        zoo.open_source(SMALL, str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_folders_and_models_are_refused(tmp_path: Path):
    torch.save([1, 2], tmp_path / "list.pth")
    for weights, words in (
        ("imagnet", "no such file"),
        (tmp_path, "no such file"),
        ("list.pth", "state dict"),
    ):
        with pytest.raises(BadInput, match=words):
            zoo.open_source(SMALL, str(tmp_path / weights))
    with pytest.raises(BadInput, match="unknown model 'resnet'") as caught:
        zoo.open_source("resnet", "none")
    assert all(name in str(caught.value) for name in ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_imagenet_without_a_network_says_where_to_put_the_file(name: str, offline: Path):
    with pytest.raises(BadInput) as caught:
        zoo.open_source(name, "imagenet")
    for words in (zoo.row(name).imagenet.url, str(offline), "--weights PATH", "no route to host"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_takes_the_file_from_the_place_it_named(offline: Path, states: dict[str, Path]):
    offline.mkdir(parents=True)
    state = safetensors.torch.load_file(states[SMALL])
    torch.save(state, offline / zoo.row(SMALL).imagenet.url.rpartition("/")[2])
    source = zoo.open_source(SMALL, "imagenet")
    assert torch.equal(source.model.state_dict()["features.0.0.weight"], state["features.0.0.weight"])


def test_the_embedded_weights_are_for_one_model(offline: Path):
    source = zoo.open_source(zoo.EMBEDDED_MODEL, "embedded")
    assert source.pooled
    assert source.contract.input_size == (64, 64)
    for name in set(ROWS) - {zoo.EMBEDDED_MODEL}:
        with pytest.raises(BadInput, match=f"Use --model {zoo.EMBEDDED_MODEL}"):
            zoo.open_source(name, "embedded")


def test_the_embedded_asset_is_the_shared_file_in_half_precision():
    path = SHARED / "mobilenet_v3_small-tiny64.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the asset's source is shared material, not part of the repository")
    whole = safetensors.torch.load_file(path)
    asset = safetensors.torch.load_file(Path(zoo.__file__).parent / "assets" / zoo.EMBEDDED_FILE)
    floats = {k for k in whole if k.startswith("features.") and not k.endswith("num_batches_tracked")}
    assert floats <= set(asset)
    assert all(key.startswith("features.") for key in asset)
    for key in floats:
        torch.testing.assert_close(asset[key].float(), whole[key].half().float(), rtol=0, atol=0)
    model = zoo.open_source(SMALL, "embedded").model.state_dict()
    assert all(torch.equal(model[key], asset[key].float()) for key in floats)
