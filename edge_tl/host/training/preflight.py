"""What would end a training late is refused before it starts. Decodes no image and opens no weights."""

from __future__ import annotations

import importlib.util

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.host.images import dataset as datasets
from edge_tl.host.images.dataset import Dataset, Listing
from edge_tl.host.models import zoo
from edge_tl.host.models.input_size import check_size
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.training import distributed, folds


def check_listing(recipe: Recipe, listing: Listing) -> None:
    """Everything that is known before the first image is decoded: undecodable images only make it worse. Raises
    `BadInput`, `MissingExtra`."""
    train = recipe.train
    backbone = train.strategy != "head"
    if backbone and train.image_sizes and not recipe.model.name.startswith(zoo.FACTORY):
        check_size(recipe.model.name, min(train.image_sizes))
    if train.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra("tensorboard", "tensorboard")
    check_dataset(recipe, datasets.build_dataset(listing, {}, recipe.data, seed=recipe.seed))


def check_dataset(recipe: Recipe, dataset: Dataset) -> None:
    """As `check_listing`, once it is known which images can be decoded."""
    images = len(dataset.split("train"))
    if recipe.train.strategy != "head" and images < distributed.count():
        raise BadInput(
            f"{images} training images for {distributed.count()} processes. Start fewer, or add images."
        )
    if recipe.data.folds:
        folds.plan_folds(dataset, recipe.data.folds, recipe.seed)
