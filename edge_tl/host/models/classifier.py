"""What a classifier must keep before anything is proven of it: the same answers every time, whatever the batch.

One image and a batch, twice each, against single rows. Trains and exports nothing, measures no accuracy.
"""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import torch
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host.models import calls
from edge_tl.host.models.calls import Call

_BATCH = 2
_ALIKE = 1e-4
"""Of the largest logit: what two calls with the same images may differ by."""
_BY_BATCH = 1e-3
"""And a row by the batch it comes in; exported files may differ from PyTorch by as much."""


@dataclass(frozen=True)
class CheckedClassifier:
    """`outputs` logits an image; `notes` are sentences on what works, but not as it was meant."""

    outputs: int
    notes: tuple[str, ...]


def check_classifier(
    model: nn.Module, input_size: tuple[int, int], name: str, *, classes: int | None = None
) -> CheckedClassifier:
    """Run `model`, in evaluation mode on the CPU, on noise `(n, 3, *input_size)`.

    Raises `BadInput` that says what is wrong, and which line of the model does it: for a model that fails, that gives
    anything but finite logits `(n, classes)`, that is random, that loses the batch axis, whose answers depend on the
    other images of a batch, and that decides by the values of the image.
    """
    model.eval()
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(_BATCH, 3, *input_size, generator=generator) * 4 - 2
    one = batch[:1]
    together = _batch_answers(model, batch, name)
    _decides_by_values(model, batch, name)
    alone = _answers_alone(model, one, together, name)
    scale = max(1.0, float(together.abs().max()))
    for images, before in ((batch, together), (one, alone)):
        if not _near(_run(model, images), before, _ALIKE * scale):
            raise BadInput(
                f"{name}: its answers differ from call to call with the same image{_random(model, one)}. A device "
                "needs one answer: make that obey eval(), e.g. nn.Dropout in place of F.dropout."
            )
    rows = torch.cat([alone, *(_run(model, batch[i : i + 1]) for i in range(1, _BATCH))])
    if not _near(rows, together, _BY_BATCH * scale) and not _apart_by_rounding(model, batch):
        raise BadInput(_by_batch(model, batch, name))
    if classes is not None and together.shape[1] != classes:
        raise BadInput(
            f"{name}: gives {together.shape[1]} logits an image, and there are {classes} labels. "
            "Give the model that these labels belong to."
        )
    return CheckedClassifier(together.shape[1], tuple(_notes(together, name)))


def _run(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        answer: torch.Tensor = model(images)
    return answer


def _batch_answers(model: nn.Module, batch: torch.Tensor, name: str) -> torch.Tensor:
    try:
        answer = _run(model, batch)
    except Exception as error:  # a person's code raises anything
        line = calls.failing_line(error.__traceback__)
        at = f" at {line}" if line else ""
        raise BadInput(
            f"{name}: fails on RGB images of {batch.shape[2]} pixels ({_first_line(error)}{at}). Give the size it was "
            "made for: --image-size; models of other than three channels are not supported."
        ) from None
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or len(answer) != len(batch):
        shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise BadInput(
            f"{name}: gives {shape} for two images; a classifier gives logits of shape (2, classes)."
        )
    if not answer.is_floating_point():
        raise BadInput(f"{name}: gives {_dtype(answer)}, which are no logits. Return the scores themselves.")
    if answer.shape[1] == 1:
        raise BadInput(
            f"{name}: gives one number an image, and two classes need two logits. Return "
            "torch.cat([torch.zeros_like(x), x], 1) in its place."
        )
    if not torch.isfinite(answer).all():
        raise BadInput(
            f"{name}: its answers are not numbers (NaN or infinity) for an image of noise. Check the weights."
        )
    return answer


def _answers_alone(model: nn.Module, one: torch.Tensor, together: torch.Tensor, name: str) -> torch.Tensor:
    """The answers for one image, where they have their batch axis."""
    failure = ""
    try:
        answer = _run(model, one)
        if isinstance(answer, torch.Tensor) and answer.shape == (1, together.shape[1]):
            return answer
        shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        what = f"gives {shape} for one image, where (1, {together.shape[1]}) is due"
    except Exception as error:
        failure = calls.failing_line(error.__traceback__)
        what = f"fails on one image, not on two ({_first_line(error)})"
    many = one.repeat(_BATCH, 1, 1, 1)
    lost = calls.first_difference(model, one, many, lambda a, b: a.output.ndim != b.output.ndim)
    if not lost and (layer := _without_statistics(model, many)):
        raise BadInput(f"{name}: {what}: {layer}") from None
    where = f", at {failure}" if failure else ""
    if lost:
        where = f": {lost.function}{_at(lost)} loses the batch axis there"
    raise BadInput(
        f"{name}: {what}{where}. A device runs one image at a time: keep dimension 0, e.g. x.flatten(1) in place of "
        "x.squeeze()."
    ) from None


def _near(a: object, b: torch.Tensor, limit: float) -> bool:
    return isinstance(a, torch.Tensor) and a.shape == b.shape and bool((a - b).abs().max() <= limit)


def _differs(a: Call, b: Call) -> bool:
    return a.output.shape == b.output.shape and not torch.equal(
        torch.nan_to_num(a.output.float()), torch.nan_to_num(b.output.float())
    )


def _random(model: nn.Module, one: torch.Tensor) -> str:
    found = calls.first_difference(model, one, one, _differs)
    return f": {found.function}{_at(found)} is random in evaluation mode too" if found else ""


def _by_batch(model: nn.Module, batch: torch.Tensor, name: str) -> str:
    what = f"{name}: an answer depends on the other images of its batch"
    if layer := _without_statistics(model, batch):
        return f"{what}: {layer}"

    def differ(a: Call, b: Call) -> bool:
        x, y = a.output, b.output
        if not (
            x.ndim == y.ndim and x.ndim and x.shape[1:] == y.shape[1:] and len(x) == 1 and len(y) == _BATCH
        ):
            return False
        x, y = x.float(), y[:1].float()
        return bool((x - y).abs().max() > _BY_BATCH * max(1.0, float(y.abs().max())))

    found = calls.first_difference(model, batch[:1], batch, differ)
    where = f", from {found.function}{_at(found)} on" if found else ""
    return (
        f"{what}{where}. A device runs one image at a time, so none may; see that eval() reaches every layer."
    )


def _apart_by_rounding(model: nn.Module, batch: torch.Tensor) -> bool:
    """Whether an image's answer is the same alone and in the `batch` where float64 rounds: far from what it was trained
    on, a deep network may amplify float32's last digit a hundred thousand times."""
    try:
        exact, images = copy.deepcopy(model).double(), batch.double()
        together = _run(exact, images)
        rows = torch.cat([_run(exact, images[i : i + 1]) for i in range(len(images))])
    except Exception:  # a person's code may insist on float32
        return False
    return _near(rows, together, _BY_BATCH * max(1.0, float(together.abs().max())))


def _without_statistics(model: nn.Module, images: torch.Tensor) -> str:
    """The BatchNorm that computes a mean of the batch because it keeps none, or ""."""
    ran: list[str] = []
    hooks = [
        layer.register_forward_hook(lambda *_, path=path: ran.append(path))
        for path, layer in model.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None
    ]
    _run(model, images)
    for hook in hooks:
        hook.remove()
    if not ran:
        return ""
    return (
        f"layer {ran[0]} ({type(model.get_submodule(ran[0])).__name__}) keeps no running statistics. Train it with "
        "track_running_stats=True, or take GroupNorm."
    )


def _decides_by_values(model: nn.Module, batch: torch.Tensor, name: str) -> None:
    """Refuse a branch on an image's values. Not every value that is read is one: a constant may be read as well, and
    PyTorch's own exporter knows."""
    if not (lines := calls.trace_value_reads(model, batch)):
        return
    try:
        with _silent():
            torch.export.export(model, (batch,))
    except Exception:
        line = next((each for each in lines if each), "")
        raise BadInput(
            f"{name}: {f'{line} ' if line else ''}decides by the values of the image, and an exported file has one way "
            "only. Write both and choose with torch.where."
        ) from None


@contextmanager
def _silent() -> Iterator[None]:
    """PyTorch's exporter logs and prints the whole graph with every failure."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _notes(together: torch.Tensor, name: str) -> list[str]:
    notes = []
    if together.dtype != torch.float32:
        notes.append(f"{name}: gives {_dtype(together)} logits; they are taken, and exported, as float32")
    if bool((together >= 0).all()) and bool(((together.sum(1) - 1).abs() < 1e-3).all()):
        notes.append(
            f"warning: {name} seems to end in a softmax, since its answers sum to 1: confidence and INT8 are evaluated "
            "on logits. Leave the softmax out"
        )
    return notes


def _at(call: Call) -> str:
    return f" at {call.line}" if call.line else ""


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first_line(error: Exception) -> str:
    return (next(iter(str(error).splitlines()), "") or type(error).__name__)[:120]
