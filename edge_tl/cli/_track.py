"""`--track`: the figures of a verb in MLflow or Weights & Biases too. The machinery is the host part's."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._completion import one_of
from edge_tl.cli._console import say
from edge_tl.device.errors import MissingExtra

if TYPE_CHECKING:
    from edge_tl.host.recipe.schema import Recipe
    from edge_tl.host.tracking.tracker import Tracking

Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        autocompletion=one_of("mlflow", "wandb"),
        help="Keep settings and figures in mlflow or wandb too, on this machine unless you named a server; "
        "mlflow=FOLDER or wandb=FOLDER says where; repeatable.",
    ),
]


@contextmanager
def open_tracking(asked: Sequence[str] | None, name: str, recipe: Recipe | None = None) -> Iterator[Tracking]:
    """What `--track` asked for, for a run of this `name` by this `recipe`; without it nothing is told.
    Raises `BadInput`, and `MissingExtra` without the host part."""
    try:
        machinery = importlib.import_module("edge_tl.host.tracking.tracker")
    except ModuleNotFoundError as error:
        missing = "the host part of edge-tl" if str(error.name).startswith("edge_tl") else error.name
        raise MissingExtra(f"{missing}, which --track needs,", "host") from None
    with machinery.tracked(asked or (), name, say) as tracking:
        if recipe is not None:
            tracking.recipe(recipe)
        yield tracking
