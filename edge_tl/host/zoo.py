"""The models that can be fine-tuned: a plain table from name to torchvision's builder, weights and head.

It must not train or export. A new classifier is one more row.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torchvision.models as tv
from torch import nn

from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import BadInput


@dataclass(frozen=True)
class Row:
    """`head` is the path of the last linear layer; `imagenet` what `--weights imagenet` downloads; `contract`
    the transforms assumed for weights in a file, which say nothing of their own."""

    build: Callable[..., nn.Module]
    imagenet: Any
    contract: Any
    head: str


ZOO: dict[str, Row] = {
    "mobilenet_v2": Row(
        tv.mobilenet_v2,
        tv.MobileNet_V2_Weights.IMAGENET1K_V2,
        tv.MobileNet_V2_Weights.IMAGENET1K_V1,
        "classifier.1",
    ),
    "mobilenet_v3_small": Row(
        tv.mobilenet_v3_small,
        tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        "classifier.3",
    ),
    "mobilenet_v3_large": Row(
        tv.mobilenet_v3_large,
        tv.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
        tv.MobileNet_V3_Large_Weights.IMAGENET1K_V1,
        "classifier.3",
    ),
    "efficientnet_b0": Row(
        tv.efficientnet_b0,
        tv.EfficientNet_B0_Weights.IMAGENET1K_V1,
        tv.EfficientNet_B0_Weights.IMAGENET1K_V1,
        "classifier.1",
    ),
}

EMBEDDED_MODEL = "mobilenet_v3_small"
EMBEDDED_FILE = "mobilenet_v3_small-tiny64-features-fp16.safetensors"
# Trained at 64 px without a resize; bicubic because small images (digits, icons) are enlarged to it.
EMBEDDED_CONTRACT = Preprocess(resize="shorter", resize_size=(64, 64), interpolation="bicubic", crop=(64, 64))


@dataclass(frozen=True)
class Source:
    """A network before its new head: `pooled` says that the weights hold no hidden classifier layers, so the
    head reads the pooled features."""

    model: nn.Module
    contract: Preprocess
    pooled: bool
    origin: str


def row(name: str) -> Row:
    """Raises `BadInput` for a model that is not in the table."""
    if name not in ZOO:
        raise BadInput(f"unknown model {name!r}. Choose one of {', '.join(ZOO)}.")
    return ZOO[name]


def build(name: str, classes: int, *, pooled: bool = False) -> nn.Module:
    """The architecture with an untrained head of `classes` outputs, in evaluation mode."""
    model = row(name).build(weights=None)
    linear = [layer for layer in classifier_of(model) if isinstance(layer, nn.Linear)]
    if pooled:
        model.classifier = nn.Sequential(nn.Linear(linear[0].in_features, classes))
    else:
        classifier_of(model)[-1] = nn.Linear(linear[-1].in_features, classes)
    return model.eval()


def classifier_of(model: nn.Module) -> nn.Sequential:
    """The layers after pooling; the last is the head."""
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    return classifier


def head_of(model: nn.Module) -> nn.Linear:
    """The last linear layer, whose inputs are the features."""
    last = classifier_of(model)[-1]
    assert isinstance(last, nn.Linear)
    return last


def open_source(name: str, weights: str, *, image_size: int | None = None, resize: str = "shorter") -> Source:
    """Build `name` and load `weights`: "imagenet", "embedded", "none" or a path to .safetensors or .pth.

    Files are read without unpickling code. Raises `BadInput` for an unknown model, an absent or foreign
    file, and for a download that fails.
    """
    entry = row(name)
    pooled = False
    if weights == "none":
        model, contract, origin = build(name, 2), _contract(entry.contract), "none"
    elif weights == "imagenet":
        model, contract, origin = _download(name, entry), _contract(entry.imagenet), str(entry.imagenet)
    elif weights == "embedded":
        if name != EMBEDDED_MODEL:
            raise BadInput(
                f"--weights embedded: the package carries {EMBEDDED_MODEL} only. Use --model {EMBEDDED_MODEL}."
            )
        with resources.as_file(resources.files("edge_tl.host") / "assets" / EMBEDDED_FILE) as path:
            model, pooled = _from_file(name, path)
        contract, origin = EMBEDDED_CONTRACT, "embedded"
    else:
        model, pooled = _from_file(name, Path(weights))
        contract, origin = _contract(entry.contract), Path(weights).name
    return Source(model, _resized(contract, image_size, resize), pooled, origin)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors, .pth or .pt file. Raises `BadInput`; never unpickles code."""
    if not path.is_file():
        raise BadInput(f"--weights {path}: no such file. Use imagenet, embedded, none, or a path to weights.")
    try:
        if path.suffix == ".safetensors":
            state: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
            return state
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise unrelated types on foreign files
        why = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise BadInput(
            f"--weights {path}: not a readable weights file ({why}). Save a plain state dict."
        ) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise BadInput(f"--weights {path}: holds no state dict. Save `model.state_dict()`.")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def _from_file(name: str, path: Path) -> tuple[nn.Module, bool]:
    state = read_state(path)
    pooled = not any(key.startswith("classifier.") for key in state)
    model = build(name, 2, pooled=pooled)
    head = "classifier.0" if pooled else row(name).head
    wanted = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{head}.")}
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in state or state[key].shape != tensor.shape:
            found = tuple(state[key].shape) if key in state else "nothing"
            guess = next((other for other in ZOO if other != name and _fits(other, state)), None)
            advice = f"It fits --model {guess}." if guess else "Give weights of this model."
            raise BadInput(
                f"--weights {path}: not {name}: {key} should be {tuple(tensor.shape)}, found {found}. {advice}"
            )
    model.load_state_dict({k: state[k].to(v.dtype) for k, v in wanted.items() if k in state}, strict=False)
    return model, pooled


def _fits(name: str, state: dict[str, torch.Tensor]) -> bool:
    with torch.device("meta"):
        model = row(name).build(weights=None)
    features = {k: v.shape for k, v in model.state_dict().items() if k.startswith("features.")}
    return all(k in state and state[k].shape == shape for k, shape in features.items())


def _download(name: str, entry: Row) -> nn.Module:
    try:
        return entry.build(weights=entry.imagenet).eval()
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        url = entry.imagenet.url
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise BadInput(
            f"--weights imagenet: cannot download {url} ({error}). "
            f"Put the file into {folder}, or give its path: --weights PATH."
        ) from None


def _contract(weights: Any) -> Preprocess:
    """torchvision's published transforms as a contract."""
    transforms = weights.transforms()
    side, crop = transforms.resize_size[0], transforms.crop_size[0]
    return Preprocess(
        resize="shorter",
        resize_size=(side, side),
        interpolation=transforms.interpolation.value,
        crop=(crop, crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _resized(contract: Preprocess, image_size: int | None, resize: str) -> Preprocess:
    if image_size:
        side = round(contract.resize_size[0] * image_size / contract.input_size[0])
        contract = replace(contract, resize_size=(side, side), crop=(image_size, image_size))
    if resize == "exact":
        contract = replace(contract, resize="exact", resize_size=contract.input_size, crop=None)
    return contract
