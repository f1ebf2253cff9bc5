"""From a recipe to a run: data, features, head, figures; one function, in the order things happen.

It must not print: progress and notes go to the callbacks it is given.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_tl import __version__
from edge_tl.host import checkpoint, data, features, head, zoo
from edge_tl.host.recipe import Recipe
from edge_tl.target.errors import BadInput
from edge_tl.target.machine import has_vnni, identity
from edge_tl.target.progress import Progress, no_progress

Note = Callable[[str], None]

RUN_FILES = (
    checkpoint.RECORD,
    checkpoint.WEIGHTS,
    features.FOLDER,
    "report.md",
    "report.html",
    "report.json",
)


def no_note(text: str) -> None:
    """Say nothing."""


def finetune(
    recipe: Recipe, out: Path | None = None, *, progress: Progress = no_progress, note: Note = no_note
) -> dict[str, Any]:
    """Fine-tune as `recipe` says and write the run to `out` (default `runs/NAME`).

    Returns `{run, model, strategy, classes, n{train,val,test}, metrics{accuracy, macro_f1, split, …},
    seconds{features, train, total}, …}`. Raises `BadInput`; whatever it raises, `out` is then no finished run,
    or still the one it was.
    """
    start = perf_counter()
    if recipe.data.path is None:
        raise BadInput("no data: the recipe has no data.path. Give a folder, or --set data.path=FOLDER.")
    strategy = _strategy(recipe, note)
    root = Path(recipe.data.path).expanduser()
    listing = data.scan(root, lambda done, total: progress("hashing", done, total))
    torch.manual_seed(recipe.seed)  # --weights none is random, and must be the same random again
    source = zoo.open_source(
        recipe.model.name,
        recipe.model.weights,
        image_size=recipe.model.image_size,
        resize=recipe.model.resize,
    )
    if source.origin == "none":
        note("NOTHING IS TRANSFERRED: --weights none leaves the backbone random; expect a poor classifier.")
    name = recipe.name or f"{root.resolve().name}-{recipe.model.name}-{strategy}"
    run = out or Path("runs") / name
    checkpoint.claim(run, RUN_FILES)

    found = features.extract(source, listing.samples, root, run, progress=progress)
    dataset = data.settle(
        listing,
        found.bad,
        val=recipe.data.val,
        test=recipe.data.test,
        seed=recipe.seed,
        on_bad_image=recipe.data.on_bad_image,
    )
    _tell(dataset, note)
    extracted = perf_counter()

    labels = {split: _labels(dataset.split(split)) for split in data.SPLITS}
    solution = head.solve(
        found.of(dataset.split("train")),
        labels["train"],
        found.of(dataset.split("val")),
        labels["val"],
        classes=len(dataset.labels),
        strengths=recipe.head.C,
        max_iter=recipe.head.max_iter,
        progress=progress,
    )
    judged = "test" if len(labels["test"]) else "val"
    answers = solution.answers(found.of(dataset.split(judged)))
    metrics = {"split": judged} | head.metrics(labels[judged], answers, dataset.labels)
    model = _with_head(source.model, solution)
    trained = perf_counter()

    seconds = {"features": extracted - start, "train": trained - extracted, "total": perf_counter() - start}
    checkpoint.save(
        run,
        model,
        {
            "name": run.name if out else name,
            "model": recipe.model.name,
            "weights": source.origin,
            "pooled": source.pooled,
            "strategy": strategy,
            "labels": dataset.labels,
            "preprocess": source.contract.to_json(),
            "data": dataset.to_json() | {"path": str(root.resolve())},
            "metrics": metrics,
            "head": {"C": solution.chosen, "grid": solution.grid},
            "seconds": seconds,
            "provenance": provenance(recipe)
            | {"features": found.runtime, "features_computed": found.computed},
        },
    )
    return {
        "run": str(run),
        "model": recipe.model.name,
        "strategy": strategy,
        "classes": len(dataset.labels),
        "labels": dataset.labels,
        "n": dataset.counts(),
        "metrics": metrics,
        "head": {"C": solution.chosen, "grid": solution.grid},
        "skipped": dataset.skipped,
        "duplicates": dataset.duplicates,
        "features_computed": found.computed,
        "seconds": seconds,
    }


def provenance(recipe: Recipe) -> dict[str, Any]:
    """What a result depends on beside the data: recipe, seed, versions, machine."""
    packages = [
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "openvino",
        "nncf",
        "scikit-learn",
        "numpy",
        "pillow",
    ]
    versions = {"edge-tl": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    settings = recipe.model_dump(mode="json")
    host = identity() | {"vnni": has_vnni()}
    return {"recipe": settings, "seed": recipe.seed, "versions": versions, "host": host}


def _strategy(recipe: Recipe, note: Note) -> str:
    asked = recipe.train.strategy
    if asked not in ("auto", "head"):
        raise BadInput(
            f"strategy {asked!r} is not in this version. Use head: the backbone frozen, the head solved."
        )
    if asked == "auto":
        note("strategy auto: head (the backbone stays frozen, the head is solved; the one strategy so far)")
    if recipe.train.epochs is not None:
        note(f"epochs {recipe.train.epochs} has no effect: the head is solved to convergence, not stepped")
    return "head"


def _tell(dataset: data.Dataset, note: Note) -> None:
    for entry in dataset.skipped:
        note(f"left out: {entry['path']}: {entry['reason']}")
    for entry in dataset.duplicates:
        note(f"duplicate: {' = '.join(entry['paths'])}: {entry['reason']}")


def _labels(samples: list[data.Sample]) -> head.Labels:
    return np.array([s.label for s in samples], np.int64)


def _with_head(model: nn.Module, solution: head.Solution) -> nn.Module:
    layer = nn.Linear(solution.weight.shape[1], solution.weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solution.weight))
        layer.bias.copy_(torch.from_numpy(solution.bias))
    zoo.classifier_of(model)[-1] = layer
    return model.eval()
