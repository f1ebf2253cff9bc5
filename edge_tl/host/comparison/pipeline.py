"""Fine-tune a grid of models, strategies and learning rates, time every model, and pick one under a budget.

It must not print. Everything is in one folder: `trials/NAME` are runs, `timed/` what was timed, `compare.json` the
record, `compare.html` and `compare.svg` the pictures.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from edge_tl.device.bench.effort import QUICK, Effort
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json, write_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.comparison import page, pareto, study, timing, trials
from edge_tl.host.comparison.combinations import Combination, Grid
from edge_tl.host.comparison.pareto import Budget, Point
from edge_tl.host.models import zoo
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, provenance
from edge_tl.host.training import distributed
from edge_tl.host.training.metrics import wilson_interval

RECORD, PAGE, PLOT = "compare.json", "compare.html", "compare.svg"
FILES = (study.TRIALS, timing.FOLDER, RECORD, PAGE, PLOT)
SCHEMA_VERSION, KIND = 1, "comparison"


@dataclass(frozen=True)
class Plan:
    """What to compare: `settings` of a recipe that all trials share, `weights` by model for those that differ."""

    settings: dict[str, Any]
    grid: Grid
    weights: dict[str, str]
    budget: Budget
    trials: int | None = None
    storage: str | None = None
    name: str | None = None
    effort: Effort = QUICK


def compare(
    plan: Plan,
    out: Path,
    *,
    resumed: bool = False,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Run or go on with the comparison in `out`; returns `compare.json`'s record and the paths of the pictures.

    Validation accuracy chooses. A trial that fails is a row with its reason; `pick` is None when no trial keeps the
    budget. Raises `BadInput` when nothing can be compared: no trial finished, or `out` holds other settings.
    """
    _check(plan.budget)
    if distributed.many():
        raise BadInput("compare: started by a launcher. Start it alone, twice or more with the same --out.")
    for name in plan.grid.models:
        zoo.check_name(name)
    wanted = {c.name: _recipe(plan, c) for c in plan.grid.combinations()}
    # Optuna names its journal's locks after it, each with a random ending.
    checkpoint.claim(out, (*FILES, *(path.name for path in out.glob(f"{study.JOURNAL}*"))), _is_ours)
    grid_study = study.open_study(
        plan.grid,
        wanted,
        out,
        name=plan.name,
        storage=plan.storage,
        budget=plan.trials,
        seed=next(iter(wanted.values())).seed,
    )
    rows = trials.run_trials(grid_study, resumed=resumed, listener=listener)
    finished = [row for row in rows if row["state"] == "complete"]
    if not finished:
        raise BadInput(_nothing(rows))
    with FileLock(out / ".timing.lock"):  # two processes that time at once would measure each other
        models = dict.fromkeys(row["model"] for row in finished)
        with listener.section(f"latency of {', '.join(models)}") as section:
            timed = timing.time_models(grid_study, finished, out, plan.effort, listener=section)
        grid_study.study.set_user_attr("latency_ms", {k: v["latency_ms"] for k, v in timed["models"].items()})
        record = _record(plan, grid_study, rows, timed, next(iter(wanted.values())))
        write_json(out / RECORD, record)
        drawn = page.write_plot(record, out / PLOT)
        page.write_page(record, out / PAGE)
    return record | {
        "out": str(out),
        "page": str(out / PAGE),
        "plot": str(out / PLOT) if drawn else None,
    }


def _is_ours(out: Path) -> bool:
    """Whether the folder is a comparison, or what one that runs or was stopped has made: a `compare.svg` alone is
    somebody's."""
    with suppress(BadInput):
        if (out / RECORD).is_file() and read_json(out / RECORD).get("kind") == KIND:
            return True
    trial_folders = [path for path in (out / study.TRIALS).glob("*") if not path.name.startswith(".")]
    begun = (out / study.TRIALS).is_dir() and not trial_folders  # another process makes its first trial
    return begun or any(out.glob(f"{study.JOURNAL}*")) or any(map(checkpoint.is_ours, trial_folders))


def judge(rows: list[dict[str, Any]], budget: Budget) -> dict[str, Any]:
    """`{front[], pick, runner_up, faster, nearest[]}`: names, and of the two rivals `{name, p_value}` against the pick.

    `faster` is the fastest trial that is not significantly less accurate than the pick. `nearest` is filled only when
    nothing is picked. Reads `name`, `val_accuracy`, `n_val` and `latency_ms` of the rows that are complete.
    """
    points = [_point(row) for row in rows if row["state"] == "complete"]
    best = pareto.pick(points, budget)
    second = pareto.runner_up(points, budget) if best else None
    faster = pareto.as_good_and_faster(points, best) if best else None

    def against(rival: Point | None) -> dict[str, Any] | None:
        return {"name": rival.name, "p_value": pareto.p_value(rival, best)} if rival and best else None

    misses = () if best else pareto.nearest(points, budget)
    return {
        "front": [point.name for point in pareto.pareto_front(points)],
        "pick": best.name if best else None,
        "runner_up": against(second),
        "faster": against(faster),
        "nearest": list(dict.fromkeys(point.name for point in misses if point)),
    }


def _record(
    plan: Plan, grid_study: study.GridStudy, rows: list[dict[str, Any]], timed: dict[str, Any], recipe: Recipe
) -> dict[str, Any]:
    for row in rows:
        model = timed["models"].get(row["model"]) or {}
        done = row["state"] == "complete"
        row["latency_ms"] = model.get("latency_ms") if done else None
        row["size_mb"] = model.get("size_mb") if done else None
        row["interval"] = list(wilson_interval(_point(row).right, row["n_val"])) if done else None
    judged = judge(rows, plan.budget)
    for row in rows:
        row["front"] = row["name"] in judged["front"]
    facts = provenance.provenance(recipe)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "name": grid_study.out.resolve().name,
        "study": grid_study.study.study_name,
        "trials": rows,
        **judged,
        "budget": {
            "max_latency_ms": plan.budget.max_latency_ms,
            "min_accuracy": plan.budget.min_accuracy,
        },
        "grid": {
            "models": list(plan.grid.models),
            "strategies": list(plan.grid.strategies),
            "lrs": list(plan.grid.lrs),
            "trials": grid_study.budget,
        },
        "weights": plan.weights,
        "machine": timed["machine"],
        "timing": {key: timed[key] for key in ("method", "conditions", "ran", "unmeasured")},
        "versions": facts.versions,
        "seed": recipe.seed,
        "recipe": facts.recipe,
    }


def _point(row: dict[str, Any]) -> Point:
    latency = (row.get("latency_ms") or {}).get("p50")
    return Point(row["name"], round(row["val_accuracy"] * row["n_val"]), row["n_val"], latency)


def _recipe(plan: Plan, combination: Combination) -> Recipe:
    # Through `assign`, into a copy: the plan's settings are shared by all trials.
    settings = {
        key: dict(value) if isinstance(value, dict) else value for key, value in plan.settings.items()
    }
    recipes.assign(settings, "model.name", combination.model)
    recipes.assign(settings, "train.strategy", combination.strategy)
    if combination.lr is not None:
        recipes.assign(settings, "train.lr", combination.lr)
    if combination.model in plan.weights:
        recipes.assign(settings, "model.weights", plan.weights[combination.model])
    return recipes.parse(settings, source="compare")


def _check(budget: Budget) -> None:
    limit, least = budget.max_latency_ms, budget.min_accuracy
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise BadInput(f"--max-latency-ms {limit}: milliseconds per image, above 0.")
    if least is not None and not 0 < least <= 1:
        raise BadInput(f"--min-accuracy {least}: a fraction in (0, 1]; for 90 % give 0.9.")


def _nothing(rows: list[dict[str, Any]]) -> str:
    failed = [row for row in rows if row["reason"]]
    if failed:
        return f"no trial succeeded; the first, {failed[0]['name']}: {failed[0]['reason']}"
    return f"{rows[0]['name']} was left behind, and no trial is finished. Add --resume to go on with it."
