"""The verb compare: models, strategies and learning rates on the same images, one table, one pick."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from edge_tl.cli import _compare_options as options
from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, WaitQuiet, wait_quiet_s
from edge_tl.cli._recipe_options import Settings, data_settings, tell_recipe
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput

if TYPE_CHECKING:
    from edge_tl.host.comparison.pipeline import Comparison


def compare(
    data_or_recipe: options.DataOrRecipe,
    models: options.Models = None,
    strategies: options.Strategies = "head,lp-ft",
    lrs: options.Lrs = None,
    weights: options.Weights = None,
    max_latency_ms: options.MaxLatencyMs = None,
    min_accuracy: options.MinAccuracy = None,
    epochs: options.Epochs = None,
    image_size: options.ImageSize = None,
    trials: options.Trials = None,
    thorough: options.Thorough = False,
    wait_quiet: WaitQuiet = None,
    storage: options.Storage = None,
    study: options.Study = None,
    seed: options.Seed = None,
    out: options.Out = None,
    resume: options.Resume = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune several models, time each, pick the best in a budget."""
    from edge_tl.cli._training_listeners import listener_of_several
    from edge_tl.device.bench.effort import QUICK, THOROUGH
    from edge_tl.host.comparison import pipeline as comparison
    from edge_tl.host.comparison.combinations import Grid
    from edge_tl.host.comparison.pareto import Budget

    wait_s = wait_quiet_s(wait_quiet)
    flags = {"train.epochs": epochs, "model.image_size": image_size, "seed": seed}
    _check_grid(set_, models, lrs)
    asked = data_settings(data_or_recipe).changed(flags, set_)
    base = asked.recipe()
    tell_recipe(base)
    names = _list("--models", models) if models else [base.model.name]
    own, shared = _weights(weights or [], names)
    if shared is not None:
        asked = asked.changed({"model.weights": shared}, None)
    plan = comparison.Plan(
        settings=asked.settings,
        grid=Grid(tuple(names), tuple(_list("--strategies", strategies)), tuple(_rates(lrs))),
        weights=own,
        budget=Budget(max_latency_ms, min_accuracy),
        trials=trials,
        storage=storage,
        name=study,
        effort=replace(THOROUGH if thorough else QUICK, wait_quiet_s=wait_s),
    )
    folder = out or Path("compared") / (base.name or Path(base.data.path or "data").resolve().name)
    done = comparison.compare(plan, folder, resumed=resume, listener=listener_of_several())
    return _show(done, as_json=json)


def _check_grid(assignments: list[str] | None, models: str | None, lrs: str | None) -> None:
    """Raises `BadInput` for a field that the grid sets for every trial: it would be ignored."""
    taken = {"train.strategy": "--strategies"}
    taken |= {"model.name": "--models"} if models else {}
    taken |= {"train.lr": "--lrs"} if lrs else {}
    for assignment in assignments or ():
        key = assignment.partition("=")[0].strip()
        if key in taken:
            raise BadInput(f"--set {key}: every trial has its own, of {taken[key]}. Give it there.")


_KEYS = "study trials front pick runner_up faster nearest not_judged budget".split()


def _show(done: Comparison, *, as_json: bool) -> int:
    record = done.record
    if record.pick:
        then = f"next: edge-tl export {quote(str(done.out / 'trials' / record.pick))} --int8"
    else:
        then = f"next: look at {done.page}, then choose another budget, models or strategies"
    failed = not all(trial.complete for trial in record.trials)
    whole = record.to_json()
    paths = {"out": str(done.out), "page": str(done.page), "plot": str(done.plot) if done.plot else None}
    return finish(
        {key: whole.get(key) for key in _KEYS} | paths,
        _text(done),
        as_json=as_json,
        code=0 if record.pick and not failed else EXIT_GATE_FAILED,
        then=then,
    )


def _text(done: Comparison) -> str:
    from edge_tl.host.comparison import page

    record = done.record
    whole = page.trial_table(record)
    table = replace(whole, columns=[column for column in whole.columns if column.key != "interval"])
    faults: dict[tuple[str, str], list[str]] = {}
    for row in page.unfinished_table(record).rows:  # a model that cannot be opened fails in all its trials
        faults.setdefault((row["state"], row["reason"]), []).append(row["name"])
    parts = [explained(grid(table.headings, table.cells, left=2))]
    parts += [f"{state}: {', '.join(names)}: {reason}" for (state, reason), names in faults.items()]
    return "\n".join([*parts, "", page.sentence(record), *page.remarks(record), f"page: {done.page}"])


def _list(option: str, text: str) -> list[str]:
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise BadInput(f"{option} {text!r}: no name in it. Give names with commas between.")
    return items


def _rates(text: str | None) -> list[float]:
    try:
        return list(dict.fromkeys(float(item) for item in _list("--lrs", text))) if text is not None else []
    except ValueError:
        raise BadInput(f"--lrs {text}: numbers with commas between, e.g. 1e-3,4e-3.") from None


def _weights(given: list[str], models: list[str]) -> tuple[dict[str, str], str | None]:
    """Weights by model, and those of every other model."""
    own: dict[str, str] = {}
    shared: str | None = None
    for text in given:
        model, equals, source = text.partition("=")
        if equals and model in models:
            own[model] = source
        elif equals and not Path(text).exists():
            raise BadInput(f"--weights {text}: {model} is not among the models {', '.join(models)}.")
        else:
            shared = text
    return own, shared
