"""Training a Q/DQ graph for a few epochs to answer as the FP32 model does. Evaluates nothing.

Distillation alone, no labels: the aim is the same model, not a better one (Hinton et al., "Distilling the
Knowledge in a Neural Network", 2015; for quantization Mishra and Marr, "Apprentice", 2018). The scale of a weight's
channel follows its extremes, that of an activation is trained, BatchNorm is folded already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.host import accelerator
from edge_tl.host.images.augment import model_inputs
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.int8.fake_quant import FakeQuantModel
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training import resume

BATCH = 64
LEAST_STEPS = 300
"""Steps that are planned at least, whatever the epochs."""
TOO_FEW_STEPS = 100
"""Fewer lead away from FP32, because Adam's first steps move every weight by the whole rate, whatever its gradient. Of
the tests' MobileNetV3-Small, 0.0006 nats from FP32, 12 steps made 0.0035, 50 made 0.0055, 100 made 0.0016, and 200 were
back at 0.0006."""
_PACE_STEPS = 6  # then the steps that the time allows are known; the first, which is slower, does not count
_LR = 2e-4
_SCALE_LR = 1e-3
_TEMPERATURE = 2.0
_DIVERGED = "training in INT8: the loss is not a number. Stop below: --ladder up-to=4."


class TooFewSteps(EdgeTLError):
    """The time allows fewer steps than `TOO_FEW_STEPS`."""


@dataclass(frozen=True)
class DistillationJob:
    """What a training in INT8 learns from: the answers of `teacher` on `images`, the training images as the contract
    frames them, uint8 `(3, H, W)`; mirrored at random with `flip`."""

    teacher: nn.Module
    images: Images
    contract: Preprocess
    epochs: int
    seed: int
    flip: bool

    @property
    def steps(self) -> int:
        """Of `BATCH` images, at least `LEAST_STEPS`."""
        return max(self.epochs * len(self.images) // BATCH, LEAST_STEPS)


def distill(
    job: DistillationJob,
    prepared: Path,
    qdq: Path,
    out: Path,
    *,
    seconds: float = math.inf,
    listener: Listener,
) -> float:
    """Write the graph `qdq`, which was made from `prepared`, with trained weights to `out`; returns the epochs that the
    time allowed.

    Where `seconds` run out first there are fewer steps, at a rate that has fallen accordingly. Raises `BadInput` for a
    graph that cannot be simulated, `EdgeTLError` when the loss is not a number, and `TooFewSteps` as soon as it is
    known.
    """
    device = accelerator.device()
    model = FakeQuantModel(prepared, qdq).to(device)
    with _lent(job.teacher, device):
        taken = _train(model, job, device, seconds, listener)
    if taken < min(TOO_FEW_STEPS, job.steps):
        raise TooFewSteps(_too_few(taken, seconds))
    if resume.not_finite(model.state_dict()):
        raise EdgeTLError(_DIVERGED)
    model.write(out)
    return round(taken * BATCH / len(job.images), 2)


def _train(
    model: FakeQuantModel, job: DistillationJob, device: torch.device, seconds: float, listener: Listener
) -> int:
    """The steps that were taken."""
    groups = [
        {"params": list(model.trained.values()), "peak": _LR},
        {"params": list(model.growth.values()), "peak": _SCALE_LR},
    ]
    optimizer = torch.optim.Adam(groups, lr=_LR)
    steps, contract = job.steps, job.contract
    start, first, taken = perf_counter(), 0.0, 0
    for pixels in _batches(job.images, steps, job.seed, job.flip):
        elapsed = perf_counter() - start
        if elapsed >= seconds:
            break
        if taken == 1:
            first = elapsed
        elif taken == _PACE_STEPS:
            allowed = (
                taken + int((seconds - elapsed) / (elapsed - first) * (taken - 1))
                if seconds < math.inf
                else steps
            )
            if allowed < min(TOO_FEW_STEPS, steps):
                raise TooFewSteps(_too_few(allowed, seconds))
        # By the steps, or by the time where that runs out first: the rate must end at 0.
        done = max(taken / steps, elapsed / seconds)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * (1 + math.cos(math.pi * done)) / 2
        inputs = model_inputs(pixels, contract.mean, contract.std, device)
        loss = distillation_loss(job.teacher, model, inputs)
        if not torch.isfinite(loss):
            raise EdgeTLError(_DIVERGED)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        taken += 1
        listener.progress("training in INT8", taken, steps)
    return taken


def _too_few(steps: int, seconds: float) -> str:
    return (
        f"training in INT8: {seconds:.0f} s allow {steps} steps, and fewer than {TOO_FEW_STEPS} lead away from FP32. "
        "Give a longer --time-budget, or stop below: --ladder up-to=4."
    )


@contextmanager
def _lent(teacher: nn.Module, device: torch.device) -> Iterator[None]:
    """The teacher on `device` in evaluation mode, and afterwards, whatever happens, on the CPU again, where its owner
    expects it."""
    try:
        teacher.eval().to(device)
        yield
    finally:
        teacher.to("cpu")
        accelerator.free_cached(device)


def distillation_loss(teacher: nn.Module, model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the model's softened answers from the teacher's on `(n, 3, H, W)`, a scalar."""
    with torch.no_grad():
        wanted = (teacher(inputs) / _TEMPERATURE).log_softmax(1)
    given = (model(inputs) / _TEMPERATURE).log_softmax(1)
    return nn.functional.kl_div(given, wanted, reduction="batchmean", log_target=True) * _TEMPERATURE**2


def _batches(images: Images, steps: int, seed: int, flip: bool) -> Iterator[torch.Tensor]:
    """uint8 `(BATCH, 3, H, W)`, every image once before any comes again."""
    order: list[int] = []
    random = np.random.default_rng(derive_seed(seed, "qat"))
    for _ in range(steps):
        while len(order) < BATCH:
            order += random.permutation(len(images)).tolist()
        now, order = order[:BATCH], order[BATCH:]
        batch = [images[i] for i in now]
        if flip:
            batch = [image.flip(2) if random.random() < 0.5 else image for image in batch]
        yield torch.stack(batch)
