"""What a setting that a recipe leaves open will be, in words. Opens no weights and no images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from edge_tl.host.images.augment import augment_settings
from edge_tl.host.models import zoo
from edge_tl.host.models.contracts import ContractChanges, changed_contract, known_contract
from edge_tl.host.recipe.schema import Recipe, Train
from edge_tl.host.training import feed, strategy

_NOT_ASKED = {
    "data.path": "not set: give a folder, a list or shards (--set data.path=FOLDER)",
    "data.group_by": "none: every image is a scene of its own",
    "data.folds": "none: no cross-validation",
    "data.limit": "none: all images",
    "data.max_pixels": "89 million, Pillow's limit",
    "train.clip_norm": "none: gradients are not clipped",
    "train.image_sizes": "the model's input throughout",
    "export.time_budget_s": "none: as long as it takes",
    "export.threshold": "none: no answer is rejected",
    "export.max_p95_ms": "none: no budget of latency",
    "export.max_size_mb": "none: no budget of size",
}


def effective(recipe: Recipe) -> dict[str, str]:
    """For every field of `section.field` whose value is null, what it will be."""
    known = {**_NOT_ASKED, **_training(recipe), **_contract(recipe)}
    known |= {
        f"augment.{name}": f"{value} ({recipe.augment.preset})"
        for name, value in dataclasses.asdict(augment_settings(recipe.augment)).items()
    }
    found: dict[str, str] = (
        {"name": "from the data, the model and the strategy"} if recipe.name is None else {}
    )
    for section, fields in recipe.model_dump(mode="json").items():
        if isinstance(fields, dict):
            open_ones = [f"{section}.{key}" for key, value in fields.items() if value is None]
            found |= {key: known.get(key, "decided when it runs") for key in open_ones}
    return found


def _training(recipe: Recipe) -> dict[str, str]:
    train, asked = recipe.train, recipe.train.strategy
    names = [asked] if asked != "auto" else [*strategy.TRAINED]
    stages = {name: strategy.stages(name, train.blocks + 1, train) for name in names}
    fine = {name: found for name, found in stages.items() if found}
    none = "none: the head is solved, no backbone is trained"
    epochs = {name: sum(stage.epochs for stage in found) for name, found in fine.items()}
    return {
        "train.epochs": _by(epochs) if fine else none,
        "train.lr": _by({name: found[0].lr for name, found in fine.items()}) if fine else none,
        "train.head_lr": _by({name: found[0].head_lr for name, found in fine.items()}) if fine else none,
        "train.layer_decay": _by({name: found[0].layer_decay for name, found in fine.items()})
        if fine
        else none,
        "train.weight_decay": f"{strategy.weight_decay(train):g} ({train.optimizer})",
        "train.micro_batch": f"{train.batch_size}, the batch; halved when memory runs out",
        "train.patience": _patience(epochs, train) if fine else none,
        "train.workers": f"{feed.workers(train.workers)} here: a thread each, at most {feed.MOST}",
    }


def _patience(epochs: dict[str, int], train: Train) -> str:
    last = {name: strategy.stages(name, train.blocks + 1, train)[-1].epochs for name in epochs}
    waits = {name: strategy.patience(train.patience, count) for name, count in last.items()}
    return f"{_by(waits)} epochs without anything better end the training"


def _contract(recipe: Recipe) -> dict[str, str]:
    model = recipe.model
    own = known_contract(model.name, model.weights)
    if own is None or model.name.startswith(zoo.FACTORY):
        return dict.fromkeys(
            (f"model.{each.name}" for each in dataclasses.fields(ContractChanges)), "the weights' own"
        )
    contract = changed_contract(own, ContractChanges.of(model))
    whose = " (this data set's, measured)" if model.normalize == "dataset" else " (the weights' own)"
    return {
        "model.pad": f"{list(contract.pad)} (the mean colour)" if contract.pad else "none: no bars",
        "model.image_size": f"{contract.single_crop().input_size[0]} (the weights' own)",
        "model.resize_size": f"{contract.resize_size[0]} (in proportion to the weights' own)",
        "model.interpolation": f"{contract.interpolation} (the weights' own)",
        "model.mean": f"{_numbers(contract.mean)}{whose}"
        if model.normalize != "dataset"
        else whose.strip(" ()"),
        "model.std": f"{_numbers(contract.std)}{whose}"
        if model.normalize != "dataset"
        else whose.strip(" ()"),
    }


def _by(values: Mapping[str, float]) -> str:
    """ "10" where all strategies agree, else "6 partial, 10 full"."""
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values())):g}"
    return ", ".join(f"{value:g} {name}" for name, value in values.items())


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"
