"""The tensors of a checkpoint, whoever wrote it, read without running code from it. Knows no architectures.

Read are plain state dicts and what usual trainers wrap them in: Lightning's `state_dict` with `model.` before every
name, torchvision's references (`model` beside the arguments), timm's, `net`, DistributedDataParallel's `module.`.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener

State = dict[str, torch.Tensor]

_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_AVERAGES = ("model_ema", "state_dict_ema", "ema", "ema_state_dict")
# What trainers keep beside the weights and that does nothing when it is made: arguments, NumPy's numbers.
_HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    # numpy._core, in numpy 1 numpy.core: the function that a pickled scalar names
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
)


def read_state(path: Path, listener: Listener = SILENT) -> State:
    """The tensors of a .safetensors, .pth or .pt file, names as in the bare model: without what
    DistributedDataParallel and torch.compile put before them. Raises `BadInput`; never unpickles code."""
    if not path.is_file():
        raise BadInput(f"--weights {path}: no such file. Use imagenet, embedded, none, or a path to weights.")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(list(_HARMLESS)):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise unrelated types on foreign files
        raise BadInput(f"--weights {path}: not a readable weights file ({_why(error, path)}") from None
    state, chosen = _found(loaded)
    if state is None:
        raise BadInput(f"--weights {path}: holds no state dict{_held(loaded)}. Save `model.state_dict()`.")
    if chosen and (others := [key for key in (*_KEYS, *_AVERAGES) if key != chosen and key in loaded]):
        listener.note(f"{path.name}: its {chosen!r} is read; it holds {', '.join(map(repr, others))} as well")
    for name, tensor in state.items():
        if tensor.is_quantized or tensor.is_complex() or tensor.layout != torch.strided:
            raise BadInput(
                f"--weights {path}: {name} is {_dtype(tensor)}: not a weight of a float model. Give the weights "
                "from before they were converted."
            )
    return {re.sub(r"^((module|_orig_mod)\.)+", "", str(key)): value for key, value in state.items()}


def strip_prefix(state: State, wanted: Iterable[str]) -> State:
    """What `state` holds of the names `wanted`, where it has something before every one of them: `model.`, `net.`; or
    `state` itself."""
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if not names or any(name in state for name in names):
        return state
    counts: dict[str, int] = {}
    for name in names[:3] + names[-3:]:  # a head of its own may be named differently
        for key in state:
            if key.endswith(f".{name}"):
                counts[key.removesuffix(name)] = 0
    for prefix in counts:
        counts[prefix] = sum(f"{prefix}{name}" in state for name in names)
    prefix = max(counts, key=lambda each: counts[each], default="")
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def refuse_foreign_numbers(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], file: str
) -> None:
    """Raises `BadInput` that names the tensor: integers where the model has weights, NaN or infinity where the model,
    which may mask with infinity, has none. `wanted` is the model's own state."""
    for name, tensor in state.items():
        own = wanted.get(name)
        if own is None or not own.is_floating_point():
            continue
        if not tensor.is_floating_point():
            raise BadInput(
                f"{file}: {name} is {_dtype(tensor)}, the model computes in {_dtype(own)}. Give the weights from "
                "before they were quantized or converted."
            )
        wrong = ~torch.isfinite(tensor.to(own.dtype))
        if own.device.type != "meta":
            wrong &= torch.isfinite(own)
        if count := int(wrong.sum()):
            kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
            raise BadInput(
                f"{file}: {name} holds {kind} ({count} of {tensor.numel()} values). The training diverged, or the file "
                "is damaged; give an earlier checkpoint."
            )


def _found(loaded: Any) -> tuple[dict[str, torch.Tensor] | None, str]:
    """The state dict, and the last key under which it lay, "" where it is the file itself."""
    chosen = ""
    for _ in range(3):
        if not isinstance(loaded, dict):
            return None, chosen
        key = next((k for k in (*_KEYS, *_AVERAGES) if isinstance(loaded.get(k), dict)), None)
        if key is None:
            break
        loaded, chosen = loaded[key], chosen or key
    if not isinstance(loaded, dict):
        return None, chosen
    whole = all(isinstance(value, torch.Tensor) for value in loaded.values())
    return (loaded if whole else None), chosen


def _held(loaded: Any) -> str:
    if not isinstance(loaded, dict):
        return f", but a {type(loaded).__name__}"
    return f"; its keys are {', '.join(repr(str(key))[:40] for key in list(loaded)[:6])}" if loaded else ""


def _why(error: Exception, path: Path) -> str:
    """What is wrong with the file, the bracket closed, and what to do."""
    if not (isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)):
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's sentences are of its own options
            return "its content is not what torch.save writes). Give a .pth, .pt or .safetensors file of weights."
        said = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        return f"{said}). Save a plain state dict."
    named = ""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        harmless = {f"{each.__module__}.{each.__qualname__}" for each in _HARMLESS}
        named = ", ".join([each for each in foreign if each not in harmless][:3])
    except Exception:  # old files are no archives
        named = ""
    what = f"it holds more than tensors{f': {named}' if named else ''}, and reading that would run its code"
    return f"{what}). Save a plain state dict where the training ran: torch.save(model.state_dict(), FILE)."


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
