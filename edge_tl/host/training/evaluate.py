"""What a fitted model answers, in float32 and preprocessed as the device will. Trains nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge_tl.device.errors import BadImage
from edge_tl.device.images.loader import load_batches
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.runtimes.open import Logits
from edge_tl.host import accelerator
from edge_tl.host.images.dataset import Sample
from edge_tl.host.models.five_crop import with_crops
from edge_tl.host.runs.new_record import TrainingFacts
from edge_tl.host.training import distributed
from edge_tl.host.training.job import TrainingSetup


@dataclass(frozen=True)
class FittedModel:
    """`model` in evaluation mode on the CPU, and what the run records of its training."""

    model: nn.Module
    facts: TrainingFacts
    features_head: nn.Module | None = None
    """The head on cached features, where the backbone stayed frozen."""


def predict_logits(
    fitted: FittedModel, setup: TrainingSetup, samples: Sequence[Sample], listener: Listener = SILENT
) -> Logits:
    """float32 `(n, classes)` of what the model answers on `samples`.

    Raises `BadImage` for an image that went bad since it was read first, `ReadError` for one that cannot be read now.
    """
    device, features = accelerator.device(), setup.features
    # A GPU may have computed the features in bfloat16; what is written computes in float32. And hidden layers make
    # something else of the mean of five crops' features than of each.
    exact = not accelerator.has_bf16(device) and not (
        setup.recipe.head.hidden and setup.source.contract.five_crop
    )
    if fitted.features_head is not None and features is not None and exact:
        with torch.inference_mode():
            result: Logits = fitted.features_head(torch.from_numpy(features.of(samples))).numpy()
        return result
    from edge_tl.host.models.reference import TorchRuntime

    model = with_crops(copy.deepcopy(fitted.model), setup.source.contract)
    runtime = TorchRuntime(model, device=device.type, threads=distributed.threads())
    sources, logits = setup.dataset.sources(samples), []
    for batch in load_batches(setup.source.contract, sources):
        for position, reason in batch.bad.items():  # without it, labels would belong to other images
            raise BadImage(str(sources[position]), reason)
        logits.append(runtime(batch.inputs))
        listener.progress("judging", sum(map(len, logits)), len(sources))
    return np.concatenate(logits)
