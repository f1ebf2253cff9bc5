"""One model from one split of the data: the head solved, the strategy chosen, the backbone trained; it must not
write a run or judge one.

A run learns once on its own split, and once more for every fold of a cross-validation.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from edge_tl.device.errors import BadImage
from edge_tl.device.images.loader import load_batches
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host import accelerator
from edge_tl.host.images import augment, pixel_cache
from edge_tl.host.images.batches import Labels, class_weights
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.models import architecture
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.models.input_size import check_size
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.new_record import TrainingFacts
from edge_tl.host.runs.provenance import OF_PIXELS, installed
from edge_tl.host.runs.record import HeadRecord, KeptEpoch
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training import distributed, head, mlp_head, resume, strategy, train
from edge_tl.host.training.features import Features
from edge_tl.host.training.job import Job, Position

DECODED = "decoded"


@dataclass(frozen=True)
class FittedModel:
    """`model` in evaluation mode on the CPU, and what the run records of its training."""

    model: nn.Module
    facts: TrainingFacts
    features_head: nn.Module | None = None
    """The head on cached features, where the backbone stayed frozen."""


def fit_split(
    source: PretrainedModel,
    dataset: Dataset,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    found: Features | None,
    recipe: Recipe,
    folder: Path,
    *,
    listener: Listener,
) -> FittedModel:
    """Train a copy of `source.model` on `samples`, choosing by `val`; what must outlive a kill is kept in `folder`.

    `found` holds the frozen features of both, or None where no strategy asks for them. Raises what `train.fit` does.
    """
    if distributed.many():
        torch.set_num_threads(distributed.threads())
    model = copy.deepcopy(source.model)
    labels, val_labels = labels_of(samples), labels_of(val)
    layer: nn.Module | None = None
    solved_by = HeadRecord()
    accuracy = 0.0
    if found is not None:
        layer, solved_by, accuracy = _solved(found, samples, val, dataset, recipe, listener)
    per_class = int(median(np.bincount(labels, minlength=len(dataset.labels))))
    chosen = strategy.choose(
        recipe.train.strategy,
        per_class=per_class,
        head_accuracy=accuracy,
        transferred=source.origin != "none",
    )
    if recipe.train.strategy == "auto":
        listener.note(f"strategy auto: {chosen.strategy} ({chosen.reason})")
    solved = layer is not None and chosen.strategy != "full"
    if not solved:  # full is from a new head, as the word is used; lp-ft is from a solved one
        torch.manual_seed(derive_seed(recipe.seed, "head"))
        width = architecture.feature_width(model, source.head)
        layer = architecture.make_head(
            width, len(dataset.labels), tuple(recipe.head.hidden), recipe.head.dropout
        )
        solved_by = HeadRecord()
    assert layer is not None
    architecture.set_head(model, source.head, layer)
    _new_auxiliary(model, len(dataset.labels))
    if recipe.head.hidden:
        solved_by = replace(solved_by, hidden=tuple(recipe.head.hidden), dropout=recipe.head.dropout)
    facts = TrainingFacts(
        strategy=chosen.strategy,
        strategy_reason=chosen.reason,
        hidden=tuple(recipe.head.hidden),
        dropout=recipe.head.dropout,
        head=solved_by,
        val_accuracy=accuracy,
    )
    if chosen.strategy == "head":
        if recipe.train.epochs is not None:
            listener.note(
                f"epochs {recipe.train.epochs} has no effect: the head is solved to convergence, not stepped"
            )
        return FittedModel(model.eval(), facts, layer)

    blocks = backbone_blocks(model, source.head)
    stages = strategy.stages(chosen.strategy, len(blocks), recipe.train)
    if recipe.train.image_sizes:
        check_size(recipe.model.name, min(recipe.train.image_sizes))
    sizes = train_sizes(recipe, source.contract, sum(stage.epochs for stage in stages))
    read = _reading(recipe, source.contract, max(sizes))
    seen = _kept(dataset, samples, read, folder / DECODED / "train", listener)
    unseen = _kept(
        dataset, val, pixel_cache.ContractPixels(source.contract), folder / DECODED / "val", listener
    )
    job = Job(
        model=model,
        blocks=blocks,
        stages=stages,
        train=seen,
        labels=labels,
        names=[sample.path for sample in samples],
        val=unseen,
        val_labels=val_labels,
        classes=len(dataset.labels),
        contract=source.contract,
        recipe=recipe,
        sizes=sizes,
        batch_norm=strategy.batch_norm(
            recipe.train.batch_norm, images=len(samples), transferred=source.origin != "none"
        ),
    )
    end = train.fit(job, folder, key=fingerprint(recipe, source, samples, val), listener=listener)
    kept = _kept_epoch(end, len(sizes), len(val), solved=solved)
    listener.note(kept.reason)
    return FittedModel(
        model,
        replace(
            facts,
            val_accuracy=end.best,
            history=tuple(end.history),
            best_epoch=end.best_epoch,
            kept=kept,
            batch_norm=job.batch_norm,
            micro_batch=end.micro_batch,
        ),
    )


def _kept_epoch(end: Position, planned: int, n: int, *, solved: bool) -> KeptEpoch:
    """Which epoch's weights `end` leaves in the model, of `planned` ones, by `n` validation images."""
    trained = len(end.history)
    start = "solved head" if solved else "new head"
    before = f"{end.start:.2%}" if end.start is not None else "unknown"
    if end.best_epoch:
        reason = (
            f"kept epoch {end.best_epoch} of {trained}: {end.best:.2%} of {n} validation images, "
            f"{before} with the {start} before the first epoch"
        )
    else:
        reason = f"kept the {start}: none of {trained} epochs was better than its {before} of {n} validation images"
    if trained < planned:
        reason += f"; stopped early, {planned} epochs were planned"
    return KeptEpoch(
        epoch=end.best_epoch,
        trained=trained,
        planned=planned,
        val_accuracy=end.best,
        start_val_accuracy=end.start,
        n_val=n,
        reason=reason,
    )


def predict_logits(
    fitted: FittedModel,
    contract: Preprocess,
    dataset: Dataset,
    samples: Sequence[Sample],
    found: Features | None,
    listener: Listener = SILENT,
) -> Logits:
    """float32 `(n, classes)`: what the model answers on `samples`, preprocessed as the device will.

    Raises `BadImage` for an image that went bad since it was looked at, `ReadError` for one that cannot be read now.
    """
    device = accelerator.device()
    # A GPU may have computed the features in bfloat16; what is written computes in float32.
    if fitted.features_head is not None and found is not None and not accelerator.has_bf16(device):
        with torch.inference_mode():
            result: Logits = fitted.features_head(torch.from_numpy(found.of(samples))).numpy()
        return result
    from edge_tl.host.models.reference import TorchRuntime

    runtime = TorchRuntime(
        copy.deepcopy(fitted.model),
        device=device.type,
        threads=distributed.threads(),
    )
    sources, logits = dataset.sources(samples), []
    for batch in load_batches(contract, sources):
        for (
            position,
            reason,
        ) in batch.bad.items():  # it was whole a while ago; without it labels would not fit
            raise BadImage(str(sources[position]), reason)
        logits.append(runtime(batch.inputs))
        listener.progress("judging", sum(map(len, logits)), len(sources))
    return np.concatenate(logits)


def labels_of(samples: Sequence[Sample]) -> Labels:
    """int64 `(n,)`."""
    return np.array([s.label for s in samples], np.int64)


def train_sizes(recipe: Recipe, contract: Preprocess, epochs: int) -> list[int]:
    """The training resolution of each epoch: `train.image_sizes` in equal shares, or the strategy's own."""
    sizes = recipe.train.image_sizes or [contract.input_size[0]]
    return [sizes[min(epoch * len(sizes) // epochs, len(sizes) - 1)] for epoch in range(epochs)]


def _solved(
    found: Features,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    dataset: Dataset,
    recipe: Recipe,
    listener: Listener,
) -> tuple[nn.Module, HeadRecord, float]:
    """The head on frozen features, what was tried, and the best validation accuracy."""
    labels, val_labels = labels_of(samples), labels_of(val)
    weights = None
    if recipe.train.balance != "none":  # in full batches, weighing and drawing classes evenly are the same
        weights = class_weights(labels, len(dataset.labels))
    both = found.of(samples), labels, found.of(val), val_labels
    if recipe.head.hidden:
        layers, tried = mlp_head.train(
            *both,
            classes=len(dataset.labels),
            widths=recipe.head.hidden,
            dropout=recipe.head.dropout,
            epochs=recipe.head.epochs,
            seed=recipe.seed,
            class_weights=weights,
            listener=listener,
        )
        best = max(tried, key=lambda entry: (entry.accuracy, -entry.log_loss))
        return layers, HeadRecord(epoch=best.epoch, grid=tried), best.accuracy
    solution = head.solve(
        *both,
        classes=len(dataset.labels),
        strengths=recipe.head.C,
        max_iter=recipe.head.max_iter,
        class_weights=weights,
        listener=listener,
    )
    layer = nn.Linear(solution.weight.shape[1], solution.weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solution.weight))
        layer.bias.copy_(torch.from_numpy(solution.bias))
    tried = solution.grid
    return layer, HeadRecord(C=solution.chosen, grid=tried), max(entry.accuracy for entry in tried)


def _reading(recipe: Recipe, contract: Preprocess, largest: int) -> pixel_cache.Read:
    """How training images are read, `largest` being the largest training size in pixels: shrunk, for crops at random;
    else as the device resizes them, so that augmentation frames them as the device does."""
    if augment.crops_at_random(recipe.augment):
        side = max(largest, min(contract.resize_size))
        return pixel_cache.ShrinkShorterSide(side, contract.interpolation, contract.max_pixels)
    return pixel_cache.ContractResized(
        augment.contract_at_size(contract, max(largest, contract.input_size[0]))
    )


def _kept(
    dataset: Dataset, samples: Sequence[Sample], read: pixel_cache.Read, folder: Path, listener: Listener
) -> pixel_cache.Images:
    """Decoded by the main process, opened by all; they share a file system, as they share the run's folder.

    Named by what is in it: what a killed run of another recipe left must not be taken for these images.
    """
    sources = dataset.sources(samples)
    how = type(read).__name__, sorted(map(str, vars(read).items())), installed("edge-tl", *OF_PIXELS)
    facts = [s.digest for s in samples], how
    folder = folder.with_name(f"{folder.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}")
    if distributed.is_main():
        pixel_cache.fill_cache(sources, read, folder, listener)
    distributed.wait()
    return pixel_cache.open_cache(sources, read, folder)


def _new_auxiliary(model: nn.Module, classes: int) -> None:
    """An auxiliary head of as many classes; it only helps training, so it starts anew."""
    auxiliary = architecture.auxiliary_head(model)
    if auxiliary is not None:
        last = auxiliary.get_submodule("fc")
        assert isinstance(last, nn.Linear)
        auxiliary.set_submodule("fc", nn.Linear(last.in_features, classes))


def fingerprint(
    recipe: Recipe, source: PretrainedModel, samples: Sequence[Sample], val: Sequence[Sample]
) -> str:
    """A digest of everything that the trained weights depend on, but the machine."""
    settings = recipe.model_dump(mode="json", include={"seed", "model", "head", "train", "augment"})
    # A smaller micro-batch is what one resumes with after running out of memory.
    for field_of_train in ("workers", "checkpoint_seconds", "tensorboard", "micro_batch"):
        del settings["train"][field_of_train]
    settings["model"]["weights"] = source.origin
    facts = {
        "recipe": settings,
        "contract": source.contract.to_json(),
        "images": [[(s.digest, s.label) for s in some] for some in (samples, val)],
        "versions": installed("edge-tl", "torch", "torchvision", "timm", "numpy", *OF_PIXELS),
        "state": resume.FORMAT,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
