"""What a training computes in: what was asked for, a GPU's own bfloat16, or on a CPU the faster of two that are timed.

On a CPU neither is always the faster, even with bfloat16 instructions: a hard-swish is slow in bfloat16. So both are
timed on the first batch. What is timed leaves no trace in the weights: a training that comes to bf16 ends in the bytes
of one that was told bf16.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Literal

import torch

from edge_tl.device.listener import Listener
from edge_tl.device.machine import isa_flags
from edge_tl.host import accelerator
from edge_tl.host.runs.record import PrecisionRecord
from edge_tl.host.training import distributed
from edge_tl.host.training.job import Position
from edge_tl.host.training.network import Network

Name = Literal["fp32", "bf16"]
BOTH: tuple[Name, Name] = ("fp32", "bf16")
WARM_UP, TIMED = 1, 3
FEWEST_STEPS = 100
"""Of a training whose first steps are worth timing: eight of them are computed for nothing."""
LEAST_GAIN = 1.05
"""How much faster bf16 has to be; noise decides below, and the same recipe should end in the same weights."""


def settle_precision(
    network: Network, at: Position, pixels: torch.Tensor, images: list[int], at_once: int, listener: Listener
) -> None:
    """Make `network` compute in the precision of the training at `at`, which is decided here when it is not yet, on
    the batch `pixels` of `images` where it has to be timed. Raises what `Network.gradients` does."""
    if at.precision is None:
        total = at.steps * sum(stage.epochs for stage in network.job.stages)
        at.precision = _known(network, total)
        if at.precision is None:
            own = _images_per_s(network, pixels, images, at_once)
            at.precision = chosen(distributed.from_main(lambda: own))
            listener.note(f"computing in {at.precision.used}: {at.precision.reason}")
    network.bf16 = at.precision.used == "bf16"


def _known(network: Network, steps: int) -> PrecisionRecord | None:
    """What needs no timing; None where it does."""
    settings = network.settings
    if settings.precision != "auto":
        return PrecisionRecord(settings.precision, "asked for")
    if network.device.type != "cpu":
        native = accelerator.has_bf16(network.device)
        return PrecisionRecord("bf16" if native else "fp32", f"the GPU has {'' if native else 'no '}bfloat16")
    if not {"avx512_bf16", "amx_bf16", "bf16"} & set(isa_flags()):
        return PrecisionRecord("fp32", "the CPU has no bfloat16 instructions")
    if settings.deterministic:
        return PrecisionRecord("fp32", "train.deterministic: what is timed may differ from run to run")
    if settings.compile:
        return PrecisionRecord("fp32", "train.compile: timing both would compile twice")
    if steps < FEWEST_STEPS:
        return PrecisionRecord("fp32", f"{steps} steps: timing bf16 takes longer than it can save")
    return None


def chosen(images_per_s: dict[Name, float]) -> PrecisionRecord:
    """The faster one, by figures of both."""
    fp32, bf16 = images_per_s["fp32"], images_per_s["bf16"]
    used: Name = "bf16" if bf16 >= LEAST_GAIN * fp32 else "fp32"
    reason = f"fp32 {fp32:.0f} images/s, bf16 {bf16:.0f}, forward and backward, medians of {TIMED} steps each"
    return PrecisionRecord(used, reason, fp32, bf16)


def _images_per_s(
    network: Network, pixels: torch.Tensor, images: list[int], at_once: int
) -> dict[Name, float]:
    """Of this process, the same batch again and again; no gradient, statistic or weight is left of it."""
    seconds: dict[Name, list[float]] = {name: [] for name in BOTH}
    buffers = [(buffer, buffer.clone()) for buffer in network.model.buffers()]
    try:
        for turn in range(WARM_UP + TIMED):
            for name in BOTH if turn % 2 == 0 else BOTH[::-1]:  # whatever drifts, drifts for both
                network.bf16 = name == "bf16"
                start = perf_counter()
                network.gradients(pixels, images, at_once)
                seconds[name].append(perf_counter() - start)
    finally:
        network.forget_gradients()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return {name: len(images) / median(took[WARM_UP:]) for name, took in seconds.items()}
