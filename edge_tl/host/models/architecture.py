"""Networks built from their names: the architecture, its head, its features. Reads no weights, trains nothing."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host.models import timm_models
from edge_tl.host.models.timm_models import TIMM
from edge_tl.host.models.zoo import FACTORY, zoo_entry
from edge_tl.host.torchvision_ import tv

AUXILIARY = "AuxLogits"


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
        path = timm_models.timm_config(name).classifier
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


class _Auxiliary(tv.inception.InceptionAux):  # type: ignore[misc]
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
        timm_models.timm_config(name)  # the errors of this project, not the library's
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
