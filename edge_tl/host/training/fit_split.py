"""One model from one split of the data: the head solved, the strategy chosen, the backbone trained. Writes no run.

A run is fitted once on its own split, and once more for every fold of a cross-validation.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from edge_tl.device.format import percentage
from edge_tl.device.listener import Listener
from edge_tl.host.images import pixel_cache
from edge_tl.host.models import architecture
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.models.input_size import check_size
from edge_tl.host.runs.new_record import TrainingFacts
from edge_tl.host.runs.record import HeadRecord, KeptEpoch
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training import batch_norm, distributed, strategy, train
from edge_tl.host.training.decoded import DECODED, decode_images, train_sizes, training_reader
from edge_tl.host.training.evaluate import FittedModel
from edge_tl.host.training.fingerprint import fingerprint
from edge_tl.host.training.job import Position, SplitSamples, TrainingJob, TrainingSetup, labels_of
from edge_tl.host.training.solve_head import SolvedHead, solve_head, with_hidden_layers


def fit_split(setup: TrainingSetup, split: SplitSamples, folder: Path, *, listener: Listener) -> FittedModel:
    """Train a copy of the setup's model on `split.train`, choosing by `split.val`; what must outlive a kill is kept in
    `folder`. Raises what `train.fit` does."""
    recipe = setup.recipe
    if distributed.many():
        torch.set_num_threads(distributed.threads())
    solved = solve_head(setup, split, listener)
    choice = _choose(setup, split, solved, listener)
    # "full" is from a new head, as the word is used; lp-ft is from a solved one.
    start = solved if choice.strategy != "full" else None
    model = _with_head(setup, start)
    facts = TrainingFacts(
        strategy=choice.strategy,
        strategy_reason=choice.reason,
        hidden=tuple(recipe.head.hidden),
        dropout=recipe.head.dropout,
        head=start.record if start else with_hidden_layers(HeadRecord(), recipe),
        val_accuracy=start.val_accuracy if start else None,
    )
    if choice.strategy == "head":
        assert start is not None
        if recipe.train.epochs is not None:
            listener.note(
                f"epochs {recipe.train.epochs} has no effect: the head is solved to convergence, not stepped"
            )
        return FittedModel(model.eval(), facts, start.layers)

    job = _job(setup, choice.strategy, model, split, folder, listener)
    end = train.fit(job, folder, key=fingerprint(setup, split), listener=listener)
    kept = _kept_epoch(end, len(job.sizes), len(split.val), solved=start is not None)
    listener.note(kept.reason)
    trained = replace(
        facts,
        val_accuracy=end.best,
        history=tuple(end.history),
        best_epoch=end.best_epoch,
        kept=kept,
        batch_norm=job.batch_norm,
        micro_batch=end.micro_batch,
        precision=end.precision,
    )
    return FittedModel(model, trained)


def _choose(
    setup: TrainingSetup, split: SplitSamples, solved: SolvedHead | None, listener: Listener
) -> strategy.StrategyChoice:
    asked = setup.recipe.train.strategy
    counts = np.bincount(labels_of(split.train), minlength=len(setup.dataset.labels))
    choice = strategy.choose_strategy(
        asked,
        per_class=int(median(counts)),
        head_accuracy=solved.val_accuracy if solved else 0.0,
        transferred=setup.source.origin != "none",
    )
    if asked == "auto":
        listener.note(f"strategy auto: {choice.strategy} ({choice.reason})")
    return choice


def _with_head(setup: TrainingSetup, solved: SolvedHead | None) -> nn.Module:
    """A copy of the setup's model that ends in the solved head, or in a new one."""
    source, classes = setup.source, len(setup.dataset.labels)
    model = copy.deepcopy(source.model)
    if solved:
        layers = solved.layers
    else:
        head = setup.recipe.head
        torch.manual_seed(derive_seed(setup.recipe.seed, "head"))
        width = architecture.feature_width(model, source.head)
        layers = architecture.make_head(width, classes, tuple(head.hidden), head.dropout)
    architecture.set_head(model, source.head, layers)
    _new_auxiliary(model, classes)
    return model


def _new_auxiliary(model: nn.Module, classes: int) -> None:
    """An auxiliary head of as many classes; it only helps training, so it starts anew."""
    auxiliary = architecture.auxiliary_head(model)
    if auxiliary is not None:
        last = auxiliary.get_submodule("fc")
        assert isinstance(last, nn.Linear)
        auxiliary.set_submodule("fc", nn.Linear(last.in_features, classes))


def _job(
    setup: TrainingSetup,
    strategy_name: str,
    model: nn.Module,
    split: SplitSamples,
    folder: Path,
    listener: Listener,
) -> TrainingJob:
    """What `train.fit` is given, its images decoded."""
    recipe, source, dataset = setup.recipe, setup.source, setup.dataset
    blocks = backbone_blocks(model, source.head)
    stages = strategy.stages(strategy_name, len(blocks), recipe.train)
    if recipe.train.image_sizes:
        check_size(recipe.model.name, min(recipe.train.image_sizes))
    single = source.contract.single_crop()
    sizes = train_sizes(recipe, single, sum(stage.epochs for stage in stages))
    reader = training_reader(recipe, single, max(sizes))
    val_reader = pixel_cache.ContractPixels(source.contract)
    transferred = source.origin != "none"
    if not transferred:
        batch_norm.follow_quickly(model)
    return TrainingJob(
        model=model,
        blocks=blocks,
        stages=stages,
        train=decode_images(dataset, split.train, reader, folder / DECODED / "train", listener),
        labels=labels_of(split.train),
        names=[sample.path for sample in split.train],
        val=decode_images(dataset, split.val, val_reader, folder / DECODED / "val", listener),
        val_labels=labels_of(split.val),
        classes=len(dataset.labels),
        contract=single,
        val_contract=source.contract,
        recipe=recipe,
        sizes=sizes,
        batch_norm=strategy.batch_norm(
            recipe.train.batch_norm, images=len(split.train), transferred=transferred
        ),
        transferred=transferred,
    )


def _kept_epoch(end: Position, planned: int, n: int, *, solved: bool) -> KeptEpoch:
    """Which epoch's weights `end` leaves in the model, of `planned` ones, by `n` validation images."""
    assert end.best is not None  # the start was evaluated before the first epoch
    trained = len(end.history)
    start = "solved head" if solved else "new head"
    before = percentage(end.start) if end.start is not None else "unknown"
    if end.best_epoch:
        reason = (
            f"kept epoch {end.best_epoch} of {trained}: {percentage(end.best)} of {n} validation images, "
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
