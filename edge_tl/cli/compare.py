"""The verb compare: models, strategies and learning rates on the same images, one table, one pick."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json
from edge_tl.cli._recipe_options import DEFAULTS, Settings, from_data
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput


def compare(
    data_or_recipe: Annotated[
        str,
        typer.Argument(
            help="A folder of images, a .csv list, .tar shards, a .yaml recipe, or a recipe's name."
        ),
    ],
    models: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["model.name"], help="Names with commas between; see `edge-tl models`."
        ),
    ] = None,
    strategies: Annotated[
        str, typer.Option(help="Of auto, head, partial, full, lp-ft, gradual; with commas between.")
    ] = "head,lp-ft",
    lrs: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["train.lr"],
            help="Peak learning rates, e.g. 1e-3,4e-3,1e-2; a head needs none.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            show_default=DEFAULTS["model.weights"],
            help="imagenet, embedded, none or a path; MODEL=SOURCE for one model; repeatable.",
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(show_default=DEFAULTS["none"], help="Budget: largest median milliseconds per image."),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(show_default=DEFAULTS["none"], help="Budget: smallest validation accuracy, e.g. 0.9."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["train.epochs"], help="For strategies that pass over the images."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            show_default=DEFAULTS["model.image_size"], help="Side of every model's input in pixels."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["all"], help="Try only so many combinations, chosen by Optuna."),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Time long enough for a p99 (minutes).")
    ] = False,
    storage: Annotated[
        str | None, typer.Option(help="Optuna's database URL; default a journal in --out.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="The study's name; default from --out and the grid.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder of all trials; several processes may share it."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with trials that a kill left behind.")
    ] = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune several models, time each, pick the best in a budget."""
    from edge_tl.cli._training_listeners import PlainTrainingListener
    from edge_tl.device.bench.effort import QUICK, THOROUGH
    from edge_tl.host.comparison import pipeline as comparison
    from edge_tl.host.comparison.combinations import Grid
    from edge_tl.host.comparison.pareto import Budget

    flags = {"train.epochs": epochs, "model.image_size": image_size, "seed": seed}
    asked = from_data(data_or_recipe).changed(flags, set_)
    base = asked.recipe()
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
        effort=THOROUGH if thorough else QUICK,
    )
    folder = out or Path("compared") / (base.name or Path(base.data.path or "data").resolve().name)
    record = comparison.compare(plan, folder, resumed=resume, listener=PlainTrainingListener())
    if record["pick"]:
        then = f"next: edge-tl export {folder / 'trials' / record['pick']} --int8"
    else:
        then = f"next: look at {record['page']}, then choose another budget, models or strategies"
    failed = any(row["state"] != "complete" for row in record["trials"])
    return finish(
        {key: record[key] for key in _KEYS},
        _text(record),
        as_json=json,
        code=0 if record["pick"] and not failed else EXIT_GATE_FAILED,
        then=then,
    )


_KEYS = "study out trials front pick runner_up faster nearest budget page plot".split()


def _text(record: dict[str, Any]) -> str:
    from edge_tl.host.comparison import page

    whole = page.trial_table(record)
    table = replace(whole, columns=[column for column in whole.columns if column.key != "interval"])
    faults: dict[tuple[str, str], list[str]] = {}
    for row in page.unfinished_table(record).rows:  # a model that cannot be opened fails in all its trials
        faults.setdefault((row["state"], row["reason"]), []).append(row["name"])
    parts = [explained(grid(table.headings, table.cells, left=2))]
    parts += [f"{state}: {', '.join(names)}: {reason}" for (state, reason), names in faults.items()]
    return "\n".join([*parts, "", page.sentence(record), *page.remarks(record), f"page: {record['page']}"])


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
