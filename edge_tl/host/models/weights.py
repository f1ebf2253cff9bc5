"""Weights of a model and the preprocessing they were trained with: published, in the package, or in a file.

Defines no architecture and trains nothing; files are read without running code from them.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.models import architecture, timm_models, zoo
from edge_tl.host.models.contracts import (
    EMBEDDED_CONTRACT,
    UNCHANGED,
    ContractChanges,
    changed_contract,
    default_contract,
    published_contract,
)
from edge_tl.host.models.input_size import check_size, check_takes_size
from edge_tl.host.models.state_dict import State, read_state, refuse_foreign_numbers, strip_prefix

EMBEDDED_MODEL = "mobilenet_v3_small"
EMBEDDED_FILE = "mobilenet_v3_small-tiny64-features-fp16.safetensors"


@dataclass(frozen=True)
class PretrainedModel:
    """The network `name` before its new head, which goes to the path `head`: `pooled` says that the weights hold no
    hidden classifier layers, so the head reads the pooled features. `cropping` is the contract with resize "shorter",
    from which every other policy's follows; None where that is not known."""

    model: nn.Module
    contract: Preprocess
    head: str
    pooled: bool
    origin: str
    name: str
    cropping: Preprocess | None = None


def check_weights(weights: str) -> None:
    """Raises `BadInput` where `weights` is no source of them, before anything is read."""
    if weights in ("imagenet", "embedded", "none") or Path(weights).is_file():
        return
    kind = "a folder" if Path(weights).is_dir() else "no such file"
    raise BadInput(
        f"--weights {weights}: {kind}, and none of imagenet, embedded and none. Give one of these, or a file of "
        "weights."
    )


def open_pretrained(name: str, weights: str, changes: ContractChanges = UNCHANGED) -> PretrainedModel:
    """Build `name` and load `weights`: "imagenet", "embedded", "none" or a path to .safetensors or .pth.

    `changes` are made to the preprocessing that the weights were trained with.
    Files are read without unpickling code. Raises `BadInput` for an unknown model, an absent or foreign file,
    an image size too small for the model, and for a download that fails; `MissingExtra` for timm's models.
    """
    pooled = False
    contract = default_contract(name)
    if weights == "none":
        model, origin = architecture.build(name, 2), "none"
    elif weights == "imagenet" and name.startswith(zoo.TIMM):
        model, origin = _from_timm(name)
    elif weights == "imagenet":
        published = zoo.zoo_entry(name).imagenet
        model, pooled = _fitted(name, _download(published), "imagenet")
        contract, origin = published_contract(published), str(published)
    elif weights == "embedded":
        if name != EMBEDDED_MODEL:
            raise BadInput(
                f"--weights embedded: the package carries {EMBEDDED_MODEL} only. Use --model {EMBEDDED_MODEL}."
            )
        with resources.as_file(resources.files("edge_tl.host") / "assets" / EMBEDDED_FILE) as path:
            model, pooled = _fitted(name, read_state(path), "embedded")
        contract, origin = EMBEDDED_CONTRACT, "embedded"
    else:
        model, pooled = _fitted(name, read_state(Path(weights)), weights)
        origin = Path(weights).name
    cropping = changed_contract(contract, replace(changes, resize="shorter"))
    contract = changed_contract(contract, changes)
    seen = contract.single_crop().input_size
    check_size(name, min(seen))
    check_takes_size(model, name, seen[0])
    head = architecture.head_path(name, pooled=pooled)
    return PretrainedModel(model, contract, head, pooled, origin, name, cropping)


def _fitted(name: str, state: State, weights: str) -> tuple[nn.Module, bool]:
    """The model with `state` in its backbone, and whether it is pooled."""
    state = bare_state(name, state)
    pooled = _is_pooled(name, state)
    model, head = architecture.build(name, 2, pooled=pooled), architecture.head_path(name, pooled=pooled)
    if fault := _misfit(model, head, state):
        guess = fitting_model(state, other_than=name)
        advice = f"It fits --model {guess}." if guess else "Give weights of this model."
        raise BadInput(f"--weights {weights}: not {name}: {fault}. {advice}")
    backbone = _backbone(model, head)
    refuse_foreign_numbers(
        {k: v for k, v in state.items() if k in backbone}, backbone, f"--weights {weights}"
    )
    model.load_state_dict({k: state[k] for k in backbone if k in state}, strict=False)
    return model, pooled


def bare_state(name: str, state: State) -> State:
    """`state` with the names of the bare model: some trainers save it as a part of theirs, e.g. under `model.`."""
    model = meta_model(name)
    return strip_prefix(state, model.state_dict())


def meta_model(name: str, *, pooled: bool = False) -> nn.Module:
    """The architecture with names and shapes, and no numbers where that can be had; of two classes."""
    try:
        with torch.device("meta"):
            return architecture.build(name, 2, pooled=pooled)
    except RuntimeError:  # RegNet computes its widths, timm the depth of its dropout, with tensors
        return architecture.build(name, 2, pooled=pooled)


def _is_pooled(name: str, state: State) -> bool:
    deep = not name.startswith(zoo.TIMM) and zoo.zoo_entry(name).deep
    return deep and not any(key.startswith("classifier.") for key in state)


def _backbone(model: nn.Module, head: str) -> State:
    heads = (f"{head}.", f"{architecture.AUXILIARY}.fc.")
    return {k: v for k, v in model.state_dict().items() if not k.startswith(heads)}


def _misfit(model: nn.Module, head: str, state: Mapping[str, torch.Tensor]) -> str:
    """Why `state` does not hold the backbone of `model`; "" when it does.

    Layers that the model has no place for count too: EfficientNet-B1 holds everything that B0 asks for.
    Inception's auxiliary head may be absent: it is of no use after training, and often left out.
    """
    wanted = _backbone(model, head)
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked") or (
            key.startswith(architecture.AUXILIARY) and key not in state
        ):
            continue
        if key not in state or state[key].shape != tensor.shape:
            found = tuple(state[key].shape) if key in state else "nothing"
            return f"{key} should be {tuple(tensor.shape)}, found {found}"
    heads = (head.partition(".")[0], architecture.AUXILIARY)
    spare = [
        k for k, v in state.items() if v.ndim > 1 and k not in wanted and k.partition(".")[0] not in heads
    ]
    return f"it has no {spare[0]}, which the file holds" if spare else ""


def _nearest(state: State) -> list[str]:
    """The table's models, those of about as many parameters first: one of them fits, if any does."""
    count = sum(tensor.numel() for tensor in state.values())
    return sorted(zoo.ZOO, key=lambda name: abs(zoo.ZOO[name].imagenet.meta["num_params"] - count))


def fitting_model(state: State, *, other_than: str = "") -> str | None:
    """A model of the table, not `other_than`, whose backbone `state` holds, or None."""
    return next((name for name in _nearest(state) if name != other_than and _fits(name, state)), None)


def _fits(name: str, state: State) -> bool:
    pooled = _is_pooled(name, state)
    model = meta_model(name, pooled=pooled)
    return not _misfit(
        model, architecture.head_path(name, pooled=pooled), strip_prefix(state, model.state_dict())
    )


def _download(published: Any) -> State:
    try:
        with redirect_stdout(
            sys.stderr
        ):  # PyTorch says on stdout what it downloads, where --json has its object
            state: State = published.get_state_dict(progress=True, check_hash=True)
        return state
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise BadInput(
            f"--weights imagenet: cannot download {published.url} ({error}). "
            f"Put the file into {folder}, or give its path: --weights PATH."
        ) from None


def _from_timm(name: str) -> tuple[nn.Module, str]:
    """The model and its full name: without a tag timm chooses the weights, and its choice may change."""
    architecture.build(name, 2)  # unknown names and heads that cannot be used, before a download
    import timm

    try:
        model: nn.Module = timm.create_model(name.removeprefix(zoo.TIMM), pretrained=True, num_classes=2)
    except Exception as error:  # the hub's client raises its HTTP library's own types
        why = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise BadInput(
            f"--weights imagenet: timm cannot give the weights of {name} ({why}). "
            "With a network try again, or give a file of this model: --weights PATH."
        ) from None
    config = timm_models.timm_config(name)
    return model.eval(), f"{zoo.TIMM}{config.architecture}.{config.tag}"
