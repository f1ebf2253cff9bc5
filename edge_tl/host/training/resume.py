"""The state of an unfinished training, in one file that is whole or absent. Trains nothing.

One safetensors file holds every tensor (model, average, optimizer) and, in its header, the facts beside them, so
tensors and facts can never be of different moments. Nothing is unpickled.
"""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.device.files import replace_file, sha256_file
from edge_tl.device.images.reading import with_retries
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.checkpoint import unshared

BEST = "best.safetensors"
LAST = "last.safetensors"
PREVIOUS = f".{BEST}.previous"
FORMAT = 2
"""Raised with whatever changes which tensor belongs where, an optimizer's groups for one: what one version numbered
another must not take for its own."""

Tensors = dict[str, torch.Tensor]


def write_tensors(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
    """Replace `path` atomically; what was written is opened again before it counts. Raises `OSError`."""
    whole = unshared(tensors)
    header = {"edge_tl": json.dumps(facts)}

    def reads_back(file: Path) -> bool:
        with safetensors.safe_open(file, "pt") as opened:
            return set(opened.keys()) == set(whole) and opened.metadata() == header

    def save(file: Path) -> None:
        try:
            safetensors.torch.save_file(whole, file, header)
        except safetensors.SafetensorError as error:  # a full disk, in the library's own type
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), str(path)) from None

    replace_file(path, save, reads_back)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and facts of a file that `write_tensors` wrote. Raises `BadInput`, and
    `ReadError` when it cannot be read now."""
    return _read(path, tensors=True)


def _read(path: Path, *, tensors: bool) -> tuple[Tensors, dict[str, Any]]:
    with_retries(str(path), lambda: _readable(path))  # or a busy machine would pass for a damaged file
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = json.loads(opened.metadata()["edge_tl"])
            keys = opened.keys() if tensors else ()
            return {key: opened.get_tensor(key) for key in keys}, facts
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise BadInput(f"{path}: not a training state ({error}). Remove it and fine-tune again.") from None


def _readable(path: Path) -> None:
    if path.is_file():
        path.open("rb").close()


def keep_best(folder: Path, tensors: Tensors, facts: dict[str, Any]) -> str:
    """Write the best weights and return the file's SHA-256. Those before stay beside it until `forget_previous`: until
    the next state is written they are what the one on disk belongs to. Raises `OSError`."""
    if (folder / BEST).is_file():
        os.replace(folder / BEST, folder / PREVIOUS)
    write_tensors(folder / BEST, tensors, facts)
    return sha256_file(folder / BEST)


def forget_previous(folder: Path) -> None:
    """After a state was written: it belongs to the new best weights."""
    (folder / PREVIOUS).unlink(missing_ok=True)


def settle_best(folder: Path, sha256: str) -> None:
    """Leave as best weights those that the state knows by `sha256`, not ones of a future that was killed or taken
    back. Raises `BadInput` where they are not there."""
    for path in (folder / BEST, folder / PREVIOUS):
        if path.is_file() and sha256_file(path) == sha256:
            if path.name == PREVIOUS:
                os.replace(path, folder / BEST)
            return
    raise BadInput(
        f"{folder / BEST}: not the best weights that {checkpoint.STATE} was saved with. Remove the folder and "
        "fine-tune again."
    )


def steps_done(path: Path) -> int | None:
    """Optimizer steps of the state at `path`, or None where there is no state. Raises `BadInput`."""
    if not path.is_file():
        return None
    at: dict[str, int] = _read(path, tensors=False)[1]["at"]
    return at["epoch"] * at["steps"] + at["step"]


def pack(model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> Tensors:
    """Every tensor that the next step depends on, under flat names."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{key}": value for key, value in average.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    return tensors


def unpack(
    tensors: Tensors, model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put the tensors of `pack` back, in place, each in the layout of what it belongs to."""
    model.load_state_dict(_below(tensors, "model."))
    if average is not None:
        average.load_state_dict(_below(tensors, "average."))
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _below(tensors, "optimizer.").items():
        index, _, name = key.partition(".")
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = laid_out_as(value, parameter)


def laid_out_as(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`tensor` with the strides of `other`, of one shape. A fused optimizer walks a parameter, its gradient and its
    state as flat memory: where one is channels last and another is not, CUDA's refuses and the CPU's mixes them up."""
    if tensor.stride() == other.stride():
        return tensor
    same = torch.empty_like(other, dtype=tensor.dtype, requires_grad=False)
    return same.copy_(tensor) if same.stride() == other.stride() else tensor


def not_finite(tensors: Tensors) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity, or None. Waits for the device once."""
    floats = {key: value for key, value in tensors.items() if value.is_floating_point() and value.numel()}
    if not floats:
        return None
    where = next((value.device for value in floats.values() if not value.is_cpu), torch.device("cpu"))
    good = torch.stack([value.isfinite().all().to(where) for value in floats.values()])
    return next((key for key, fine in zip(floats, good.tolist(), strict=True) if not fine), None)


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
