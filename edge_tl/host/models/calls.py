"""What a network calls while it runs, and from which line of its code. Judges nothing.

Only a network that failed a check is traced: two traces side by side show where they part.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_NOT_THE_MODELS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))


@dataclass(frozen=True)
class Call:
    """One function of PyTorch's, what it gave, and where it was called, e.g. ``net.py:8 `x.squeeze()` ``."""

    function: str
    output: torch.Tensor
    line: str


class _Calls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            name = getattr(func, "__name__", str(func))
            self.seen.append(Call(name, result.detach().clone(), _line(sys._getframe(1))))
        return result


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Where a tensor's value becomes a number of Python's, as `if x.mean() > 0` makes it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.lines.append(_line(sys._getframe(1)))
        return func(*args, **(kwargs or {}))


def trace_calls(model: nn.Module, images: torch.Tensor) -> list[Call]:
    """In order, up to where the model fails, if it does."""
    mode = _Calls()
    try:
        with torch.inference_mode(), mode:
            model(images)
    except Exception:  # a person's code raises anything, and what came before is what was asked for
        return mode.seen
    return mode.seen


def trace_value_reads(model: nn.Module, images: torch.Tensor) -> list[str]:
    """The lines that read a value, "" for one that is not Python's."""
    mode = _Reads()
    with torch.no_grad(), mode:  # in inference mode the dispatcher is not asked
        model(images)
    return mode.lines


def first_difference(
    model: nn.Module, first: torch.Tensor, second: torch.Tensor, differ: Callable[[Call, Call], bool]
) -> Call | None:
    """The first call on `first` whose counterpart on `second` differs, or None."""
    pairs = zip(trace_calls(model, first), trace_calls(model, second), strict=False)
    return next((a for a, b in pairs if a.function == b.function and differ(a, b)), None)


def failing_line(trace: TracebackType | None) -> str:
    """The innermost line of the model in a traceback, or ""."""
    frames = []
    while trace is not None:
        frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    for frame, number in reversed(frames):
        if not frame.f_code.co_filename.startswith(_NOT_THE_MODELS):
            return _spelled(frame, number)
    return ""


def _line(frame: FrameType) -> str:
    for each in _outwards(frame):
        name = each.f_code.co_filename
        if not name.startswith(_NOT_THE_MODELS):
            return _spelled(each, each.f_lineno)
        if name.startswith(_NOT_THE_MODELS[1]) and name != __file__:
            return ""  # outside the model
    return ""


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _spelled(frame: FrameType, number: int) -> str:
    name = frame.f_code.co_filename
    text = linecache.getline(name, number).strip()
    return f"{Path(name).name}:{number}" + (f" `{text[:100]}`" if text else "")
