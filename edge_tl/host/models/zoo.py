"""The models that can be fine-tuned: a plain table from name to torchvision's builder, weights and head.

It must not read weights, train or export. A new classifier is one more row; `timm:NAME` opens the timm library.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torchvision.models as tv
from torch import nn
from torchvision.models.inception import InceptionAux
from torchvision.models.regnet import AnyStage

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.host.recipe import schema

TIMM = "timm:"
FACTORY = schema.FACTORY
AUXILIARY = "AuxLogits"


@dataclass(frozen=True)
class ZooEntry:
    """`imagenet` is what `--weights imagenet` downloads; `head` the path of the last linear layer; `deep` says
    that the classifier has hidden layers of its own before it."""

    build: Callable[..., nn.Module]
    imagenet: Any
    head: str
    deep: bool = False

    @property
    def contract(self) -> Any:
        """The weights whose transforms are assumed for a file, which says nothing of its own: the first
        published ones, since most weights in circulation were trained like them."""
        family: Any = type(self.imagenet)
        return next(iter(family))


ZOO: dict[str, ZooEntry] = {
    "mobilenet_v2": ZooEntry(tv.mobilenet_v2, tv.MobileNet_V2_Weights.IMAGENET1K_V2, "classifier.1"),
    "mobilenet_v3_small": ZooEntry(
        tv.mobilenet_v3_small, tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1, "classifier.3", deep=True
    ),
    "mobilenet_v3_large": ZooEntry(
        tv.mobilenet_v3_large, tv.MobileNet_V3_Large_Weights.IMAGENET1K_V2, "classifier.3", deep=True
    ),
    "efficientnet_b0": ZooEntry(tv.efficientnet_b0, tv.EfficientNet_B0_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b1": ZooEntry(tv.efficientnet_b1, tv.EfficientNet_B1_Weights.IMAGENET1K_V2, "classifier.1"),
    "efficientnet_b2": ZooEntry(tv.efficientnet_b2, tv.EfficientNet_B2_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b3": ZooEntry(tv.efficientnet_b3, tv.EfficientNet_B3_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b4": ZooEntry(tv.efficientnet_b4, tv.EfficientNet_B4_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_v2_s": ZooEntry(
        tv.efficientnet_v2_s, tv.EfficientNet_V2_S_Weights.IMAGENET1K_V1, "classifier.1"
    ),
    "resnet18": ZooEntry(tv.resnet18, tv.ResNet18_Weights.IMAGENET1K_V1, "fc"),
    "resnet50": ZooEntry(tv.resnet50, tv.ResNet50_Weights.IMAGENET1K_V2, "fc"),
    "vgg16": ZooEntry(tv.vgg16, tv.VGG16_Weights.IMAGENET1K_V1, "classifier.6", deep=True),
    "vgg16_bn": ZooEntry(tv.vgg16_bn, tv.VGG16_BN_Weights.IMAGENET1K_V1, "classifier.6", deep=True),
    "inception_v3": ZooEntry(tv.inception_v3, tv.Inception_V3_Weights.IMAGENET1K_V1, "fc"),
    "regnet_y_400mf": ZooEntry(tv.regnet_y_400mf, tv.RegNet_Y_400MF_Weights.IMAGENET1K_V2, "fc"),
    "regnet_x_400mf": ZooEntry(tv.regnet_x_400mf, tv.RegNet_X_400MF_Weights.IMAGENET1K_V2, "fc"),
    "shufflenet_v2_x1_0": ZooEntry(tv.shufflenet_v2_x1_0, tv.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1, "fc"),
    "shufflenet_v2_x0_5": ZooEntry(tv.shufflenet_v2_x0_5, tv.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1, "fc"),
    "mnasnet1_0": ZooEntry(tv.mnasnet1_0, tv.MNASNet1_0_Weights.IMAGENET1K_V1, "classifier.1"),
    "mnasnet0_5": ZooEntry(tv.mnasnet0_5, tv.MNASNet0_5_Weights.IMAGENET1K_V1, "classifier.1"),
    "squeezenet1_1": ZooEntry(tv.squeezenet1_1, tv.SqueezeNet1_1_Weights.IMAGENET1K_V1, "classifier.3"),
    "squeezenet1_0": ZooEntry(tv.squeezenet1_0, tv.SqueezeNet1_0_Weights.IMAGENET1K_V1, "classifier.3"),
    "convnext_tiny": ZooEntry(tv.convnext_tiny, tv.ConvNeXt_Tiny_Weights.IMAGENET1K_V1, "classifier.2"),
}


def zoo_entry(name: str) -> ZooEntry:
    """Raises `BadInput` for a model that is not in the table."""
    if name not in ZOO:
        near = difflib.get_close_matches(name.lower(), ZOO, n=1)
        nearest = f" Nearest: {near[0]}." if near else ""
        raise BadInput(f"unknown model {name!r}.{nearest} See `edge-tl models`, or give {TIMM}NAME.")
    return ZOO[name]


def check_name(name: str) -> None:
    """Raises `BadInput` for a name that nothing can be built of, and `MissingExtra`; it builds nothing."""
    if name.startswith(TIMM):
        timm_config(name)
    elif not name.startswith(FACTORY):
        zoo_entry(name)


def is_known(name: str) -> bool:
    """Whether the table or the installed timm has a model of this very name: building it runs no code and opens no path
    that the name says, as a factory, `hf-hub:` and `local-dir:` do."""
    if not name.startswith(TIMM):
        return name in ZOO
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name.removeprefix(TIMM)):
        return False
    with suppress(BadInput, MissingExtra):
        timm_config(name)
        return True
    return False


def model_table() -> list[dict[str, Any]]:
    """One record a row, from what torchvision publishes with the weights, no model built: `name`, `params` in
    millions with 1,000 classes, `image_size` in pixels, `accuracy` on ImageNet as a fraction in [0, 1]."""
    return [
        {
            "name": name,
            "params": round(entry.imagenet.meta["num_params"] / 1e6, 2),
            "image_size": entry.imagenet.transforms().crop_size[0],
            "accuracy": round(entry.imagenet.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        }
        for name, entry in ZOO.items()
    ]


def build(
    name: str, classes: int, *, pooled: bool = False, hidden: Sequence[int] = (), dropout: float = 0.0
) -> nn.Module:
    """The architecture with an untrained head of `classes` outputs, in evaluation mode.

    `factory:package.module:function` calls that function and takes what it returns. `pooled` leaves out hidden layers
    of the architecture's own classifier; `hidden` and `dropout` are `make_head`'s. Raises `BadInput` for an unknown
    model or one whose head is no linear layer, `MissingExtra`.
    """
    if name.startswith(FACTORY):
        return _from_factory(name)
    model, path = _architecture(name, classes), head_path(name)
    if not isinstance(get_head(model, path), nn.Linear):
        raise BadInput(
            f"{name}: its head is no linear layer: {type(get_head(model, path)).__name__}. Choose another model."
        )
    if pooled and zoo_entry(name).deep:
        first = next(m for m in model.get_submodule("classifier").children() if isinstance(m, nn.Linear))
        path = head_path(name, pooled=True)
        model.set_submodule("classifier", nn.Sequential(first))
    set_head(model, path, make_head(feature_width(model, path), classes, hidden, dropout))
    return model.eval()


def head_path(name: str, *, pooled: bool = False) -> str:
    """Where the head is, for `get_head` and `set_head`; it reads features `(n, d)`. Raises as `build`."""
    if name.startswith(TIMM):
        path = timm_config(name).classifier
        if not isinstance(path, str):
            raise BadInput(f"{name}: has not one head but {path!r}. Choose another model.")
        return path
    return "classifier.0" if pooled and zoo_entry(name).deep else zoo_entry(name).head


def get_head(model: nn.Module, path: str) -> nn.Module:
    """The head, whose inputs are the features."""
    return model.get_submodule(path)


def set_head(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Put `layer` in the head's place; `nn.Identity()` makes the model give its features."""
    model.set_submodule(path, layer)


def make_head(width: int, classes: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> nn.Module:
    """From features `(n, width)` to logits `(n, classes)`: linear, or with `hidden` widths an MLP with ReLU and
    dropout after each hidden layer. A linear head has no dropout of its own."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
        width = size
    last = nn.Linear(width, classes)
    return nn.Sequential(*layers, last) if layers else last


def feature_width(model: nn.Module, path: str) -> int:
    """How many features the head at `path` reads."""
    return next(m.in_features for m in get_head(model, path).modules() if isinstance(m, nn.Linear))


def auxiliary_head(model: nn.Module) -> nn.Module | None:
    """Inception's second head, which in training gives logits from the middle of the network."""
    return getattr(model, AUXILIARY, None)


def blocks(model: nn.Module, head: str) -> list[tuple[nn.Module, ...]]:
    """The backbone from input to output, for freezing the first blocks or training them slower.

    Every parameter is in exactly one block, in the head at `head` or in `auxiliary`. Plain containers are
    opened; normalization that stands alone belongs to the block before it.
    """
    groups: list[list[nn.Module]] = []
    for module in _opened(model, "", head):
        if groups and all(p.ndim < 2 for p in module.parameters()):  # scales and shifts only
            groups[-1].append(module)
        else:
            groups.append([module])
    placed = [m for group in groups for m in group] + [
        get_head(model, head),
        auxiliary_head(model) or nn.Identity(),
    ]
    known = {id(p) for m in placed for p in m.parameters()}
    # Parameters of the model itself (a transformer's class token and positions) join its input.
    if loose := [p for p in model.parameters() if id(p) not in known]:
        groups[0].append(nn.ParameterList(loose))
    return [tuple(group) for group in groups]


def check_size(name: str, side: int) -> None:
    """Raises `BadInput` when images of `side` pixels vanish on their way through the network."""
    smallest = 1 if name.startswith(TIMM) else zoo_entry(name).imagenet.meta["min_size"][0]
    if side < smallest:
        raise BadInput(f"image size {side}: {name} needs at least {smallest} pixels. Give a larger one.")


def check_takes_size(model: nn.Module, name: str, side: int) -> None:
    """Raises `BadInput`, with the sizes that it takes, when `model` fails on an image of `side` pixels: a vision
    transformer's position embeddings are made for one size. Shapes only; it computes nothing."""
    why = _fault(model, side)
    if why is None:
        return
    try:  # what cannot be followed without numbers is computed
        with torch.inference_mode():
            model(torch.zeros(1, 3, side, side))
        return
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        why = _words(error)
    taken = [size for size in range(32, 513, 16) if _fault(model, size) is None]
    sizes = f"It takes {_listed(taken)}." if taken else "Leave --image-size out."
    raise BadInput(f"image size {side}: {name} cannot take it ({why}). {sizes}")


def _fault(model: nn.Module, side: int) -> str | None:
    """What a forward pass of shapes alone raises."""
    shapes = {
        key: torch.empty_like(value, device="meta")
        for key, value in (*model.named_parameters(), *model.named_buffers())
    }
    try:
        with torch.no_grad():
            torch.func.functional_call(model, shapes, torch.empty(1, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError, ValueError, IndexError, NotImplementedError) as error:
        return _words(error)
    return None


def _words(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _listed(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "") + " pixels"


def timm_config(name: str) -> Any:
    """timm's `PretrainedCfg` of `timm:NAME` or `timm:NAME.TAG`. Raises `MissingExtra`, and `BadInput` for
    an unknown name, with the nearest known ones."""
    try:
        import timm
    except ImportError:
        raise MissingExtra("timm", "timm") from None
    wanted = name.removeprefix(TIMM)
    try:
        config = timm.get_pretrained_cfg(wanted) if timm.is_model(wanted) else None
    except RuntimeError:  # a known architecture, an unknown tag
        config = None
    if config is None:
        known = timm.list_pretrained() if timm.is_model(wanted) else timm.list_models()
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3)
        advice = f"Nearest: {', '.join(TIMM + n for n in near)}." if near else "See timm.list_models()."
        raise BadInput(f"unknown model {name!r}. {advice}")
    return config


class _Auxiliary(InceptionAux):  # type: ignore[misc]
    """Inception's auxiliary head for images of any size: its kernels need 17 x 17 positions, which 299 pixels
    give; what is missing is padded with zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high, wide = (max(17 - side, 0) for side in x.shape[-2:])
        padding = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        logits: torch.Tensor = super().forward(nn.functional.pad(x, padding))
        return logits


class _MNASNet(tv.MNASNet):  # type: ignore[misc]
    """MNASNet that loads from files without torch's own metadata, like safetensors: torchvision's refuses any
    state that does not say that its layers are those of version 2."""

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": 2} | local_metadata, *rest)


@contextmanager
def _working_folder() -> Iterator[None]:
    """The working folder on the path, for as long as a person's own factory is imported and called."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with suppress(ValueError):  # the factory may have changed the path itself
            sys.path.remove(here)


def _from_factory(name: str) -> nn.Module:
    """The module that a function of the user's returns; modules beside the working folder are found too."""
    module_name, _, function = name.removeprefix(FACTORY).partition(":")
    if not module_name or not function:
        raise BadInput(f"--factory {name.removeprefix(FACTORY)}: write it as package.module:function.")
    try:
        with _working_folder():
            made = getattr(importlib.import_module(module_name), function)()
    except (Exception, SystemExit) as error:  # the user's code raises anything
        why = next(iter(str(error).splitlines()), "")
        raise BadInput(
            f"{name.removeprefix(FACTORY)}: {type(error).__name__}: {why}. Correct the factory."
        ) from error
    if not isinstance(made, nn.Module):
        raise BadInput(
            f"{name.removeprefix(FACTORY)}: returned a {type(made).__name__}, not a torch.nn.Module."
        )
    return made.eval()


def _architecture(name: str, classes: int) -> nn.Module:
    if name.startswith(TIMM):
        timm_config(name)  # the errors of this project, not the library's
        import timm

        network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=False, num_classes=classes)
        return network
    if name == "inception_v3":
        # The input's range is changed inside, as torchvision does for its weights: without weights too, so that
        # a file and its architecture always agree.
        model = tv.inception_v3(
            num_classes=classes, aux_logits=True, transform_input=True, init_weights=False
        )
        model.AuxLogits = _Auxiliary(768, classes)
        return model  # type: ignore[no-any-return]
    if name.startswith("mnasnet"):
        return _MNASNet({"mnasnet1_0": 1.0, "mnasnet0_5": 0.5}[name], num_classes=classes)
    model = zoo_entry(name).build(weights=None, num_classes=classes)
    if name.startswith("squeezenet"):
        # torchvision ends in a 1x1 convolution, ReLU and mean. The ReLU cuts negative logits, which softmax
        # needs; without it the mean over positions and the linear map commute, and a linear head on pooled
        # features is the same function.
        pooled = [nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        model.set_submodule("classifier", nn.Sequential(*pooled, nn.Linear(512, classes)))
    return model


def _opened(module: nn.Module, path: str, head: str) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        place = f"{path}{name}"
        if place in (head, AUXILIARY):
            continue
        if type(child) in (nn.Sequential, nn.ModuleList, AnyStage) or head.startswith(f"{place}."):
            yield from _opened(child, f"{place}.", head)
        elif next(child.parameters(), None) is not None:
            yield child
