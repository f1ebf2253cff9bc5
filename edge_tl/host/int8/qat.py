"""Training a Q/DQ graph for a few epochs to answer as the FP32 model does; it must not judge the result.

Distillation alone, no labels: what is wanted is the same model, not a better one (Hinton et al., "Distilling the
Knowledge in a Neural Network", 2015; for quantization Mishra and Marr, "Apprentice", 2018). The scale of a weight's
channel follows its extremes, that of an activation is trained, BatchNorm is folded already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
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
_LR = 2e-4
_SCALE_LR = 1e-3
_TEMPERATURE = 2.0
_DIVERGED = "training in INT8: the loss is not a number. Stop below: --ladder up-to=4."


def distill(
    teacher: nn.Module,
    prepared: Path,
    qdq: Path,
    out: Path,
    images: Images,
    contract: Preprocess,
    *,
    epochs: int,
    seed: int,
    flip: bool,
    seconds: float = math.inf,
    listener: Listener,
) -> float:
    """Write `qdq` with trained weights to `out`; returns the epochs that the time allowed.

    `images` are the training images as the contract frames them, uint8 `(3, H, W)`. At least `LEAST_STEPS` steps of
    `BATCH` images, whatever the epochs; fewer where `seconds` run out, at a rate that has fallen accordingly. Raises
    `BadInput` for a graph that cannot be simulated, `EdgeTLError` when the loss is not a number.
    """
    device = accelerator.device()
    student_model = FakeQuantModel(prepared, qdq).to(device)
    steps = max(epochs * len(images) // BATCH, LEAST_STEPS)
    groups = [
        {"params": list(student_model.trained.values()), "peak": _LR},
        {"params": list(student_model.growth.values()), "peak": _SCALE_LR},
    ]
    optimizer = torch.optim.Adam(groups, lr=_LR)
    start, taken = perf_counter(), 0
    with _lent(teacher, device):
        for step, pixels in enumerate(_batches(images, steps, seed, flip)):
            # By the steps, or by the time where that runs out first: the rate must end at 0.
            done = max(step / steps, (perf_counter() - start) / seconds)
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * (1 + math.cos(math.pi * done)) / 2
            loss = distillation_loss(
                teacher, student_model, model_inputs(pixels, contract.mean, contract.std, device)
            )
            if not torch.isfinite(loss):
                raise EdgeTLError(_DIVERGED)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            taken = step + 1
            listener.progress("training in INT8", taken, steps)
    if resume.not_finite(student_model.state_dict()):
        raise EdgeTLError(_DIVERGED)
    student_model.write(out)
    return round(taken * BATCH / len(images), 2)


@contextmanager
def _lent(teacher: nn.Module, device: torch.device) -> Iterator[None]:
    """The teacher on `device` in evaluation mode; whatever happens, back on the CPU, where its owner goes on."""
    try:
        teacher.eval().to(device)
        yield
    finally:
        teacher.to("cpu")
        accelerator.free_cached(device)


def distillation_loss(teacher: nn.Module, student_model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's softened answers from the teacher's on `(n, 3, H, W)`, a scalar."""
    with torch.no_grad():
        wanted = (teacher(inputs) / _TEMPERATURE).log_softmax(1)
    given = (student_model(inputs) / _TEMPERATURE).log_softmax(1)
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
