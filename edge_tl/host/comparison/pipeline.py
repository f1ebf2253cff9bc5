"""Fine-tune a grid of models, strategies and learning rates, time every model, and pick one under a budget.

Prints nothing. Everything is in one folder: `trials/NAME` are runs, `timed/` what was timed, `compare.json` the
record, `compare.html` and `compare.svg` the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from edge_tl.device.bench.effort import QUICK, Effort
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json, write_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.metrics import wilson_interval
from edge_tl.device.records.codec import Json
from edge_tl.host.comparison import page, pareto, study, timing, trials
from edge_tl.host.comparison.combinations import Combination, Grid
from edge_tl.host.comparison.pareto import Budget, Point
from edge_tl.host.comparison.record import (
    KIND,
    ComparedTrial,
    ComparisonRecord,
    GridRecord,
    Rival,
    TrialChoice,
)
from edge_tl.host.models import zoo
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, provenance
from edge_tl.host.training import distributed

RECORD, PAGE, PLOT = "compare.json", "compare.html", "compare.svg"
FILES = (study.TRIALS, timing.FOLDER, RECORD, PAGE, PLOT)


@dataclass(frozen=True)
class Plan:
    """What to compare: `settings` of a recipe that all trials share, `weights` by model for those that differ."""

    settings: dict[str, Json]
    grid: Grid
    weights: dict[str, str]
    budget: Budget
    trials: int | None = None
    storage: str | None = None
    name: str | None = None
    effort: Effort = QUICK


@dataclass(frozen=True)
class Comparison:
    """The record of a comparison, its folder, its page, and its picture where there is one."""

    record: ComparisonRecord
    out: Path
    page: Path
    plot: Path | None


def compare(
    plan: Plan,
    out: Path,
    *,
    resumed: bool = False,
    listener: Listener = SILENT,
) -> Comparison:
    """Run or go on with the comparison in `out`.

    Validation accuracy chooses. A trial that fails is a row with its reason; `pick` is None when no trial keeps the
    budget. Raises `BadInput` when nothing can be compared: no trial finished, or `out` holds other settings.
    """
    _check(plan.budget)
    if distributed.many():
        raise BadInput("compare: started by a launcher. Start it alone, twice or more with the same --out.")
    for name in plan.grid.models:
        zoo.check_model_name(name)
    wanted = {c.name: _recipe(plan, c) for c in plan.grid.combinations()}
    # Optuna names its journal's locks after it, each with a random ending.
    checkpoint.claim(out, (*FILES, *(path.name for path in out.glob(f"{study.JOURNAL}*"))), _is_ours)
    grid_study = study.open_study(
        plan.grid,
        wanted,
        out,
        study.StudyOptions(plan.name, plan.storage, plan.trials, next(iter(wanted.values())).seed),
    )
    rows = trials.run_trials(grid_study, resumed=resumed, listener=listener)
    finished = [row for row in rows if row.complete]
    if not finished:
        raise BadInput(_nothing(rows))
    with FileLock(out / ".timing.lock"):  # two processes that time at once would measure each other
        models = dict.fromkeys(row.model for row in finished)
        with listener.section(f"latency of {', '.join(models)}") as section:
            timed = timing.time_models(grid_study, finished, out, plan.effort, listener=section)
        latency = {model: ms.to_json() for model, ms in timed.latency_ms.items()}
        grid_study.study.set_user_attr("latency_ms", latency)
        record = _record(plan, grid_study, rows, timed, next(iter(wanted.values())))
        write_json(out / RECORD, record.to_json())
        drawn = page.write_comparison_plot(record, out / PLOT)
        page.write_comparison_page(record, out / PAGE)
    return Comparison(record, out, out / PAGE, out / PLOT if drawn else None)


def _is_ours(out: Path) -> bool:
    """Whether the folder is a comparison, or what one that runs or was stopped has made: a `compare.svg` alone is
    somebody's."""
    with suppress(BadInput):
        if (out / RECORD).is_file() and read_json(out / RECORD).get("kind") == KIND:
            return True
    trial_folders = [path for path in (out / study.TRIALS).glob("*") if not path.name.startswith(".")]
    begun = (out / study.TRIALS).is_dir() and not trial_folders  # another process makes its first trial
    return begun or any(out.glob(f"{study.JOURNAL}*")) or any(map(checkpoint.is_ours, trial_folders))


def choose_trial(trials: Sequence[ComparedTrial], budget: Budget, busy: str | None = None) -> TrialChoice:
    """Which of the trials that are complete are worth having. `faster` is the fastest that is not significantly less
    accurate than the pick; `nearest` is filled only when nothing is picked. `busy` is why no latency says anything:
    then they only keep the budget, and sizes take their place."""
    done = [trial for trial in trials if trial.complete]
    asked = budget
    points = ranked = [_point(trial) for trial in done]
    if busy:
        kept = [p for p in points if budget.fast(p)]
        sizes = {trial.name: trial.size_mb for trial in done}
        ranked, budget = (
            [replace(p, latency=sizes[p.name]) for p in kept],
            replace(budget, max_latency_ms=None),
        )
    best = pareto.pick(ranked, budget)
    second = pareto.runner_up(ranked, budget) if best else None
    faster = pareto.as_good_and_faster(points, best) if best and not busy else None

    def against(rival: Point | None) -> Rival | None:
        return Rival(name=rival.name, p_value=pareto.p_value(rival, best)) if rival and best else None

    misses = () if best else pareto.nearest(points, asked)
    return TrialChoice(
        front=() if busy else tuple(point.name for point in pareto.pareto_front(points)),
        pick=best.name if best else None,
        runner_up=against(second),
        faster=against(faster),
        nearest=tuple(dict.fromkeys(point.name for point in misses if point)),
        not_judged=busy,
    )


def _record(
    plan: Plan,
    grid_study: study.GridStudy,
    rows: Sequence[ComparedTrial],
    timed: timing.ModelTimings,
    recipe: Recipe,
) -> ComparisonRecord:
    measured = [_with_timing(row, timed) for row in rows]
    busy = busy_reason(timed.timing.conditions, timed.machine.cores_allowed)
    choice = choose_trial(measured, plan.budget, busy)
    facts = provenance.provenance(recipe)
    return ComparisonRecord(
        name=grid_study.out.resolve().name,
        study=grid_study.study.study_name,
        trials=tuple(replace(row, front=row.name in choice.front) for row in measured),
        front=choice.front,
        pick=choice.pick,
        runner_up=choice.runner_up,
        faster=choice.faster,
        nearest=choice.nearest,
        not_judged=choice.not_judged,
        budget=plan.budget,
        grid=GridRecord(
            models=plan.grid.models,
            strategies=plan.grid.strategies,
            lrs=plan.grid.lrs,
            trials=grid_study.budget,
        ),
        weights=plan.weights,
        machine=timed.machine,
        timing=timed.timing,
        versions=facts.versions,
        seed=recipe.seed,
        recipe=facts.recipe,
    )


def _with_timing(trial: ComparedTrial, timed: timing.ModelTimings) -> ComparedTrial:
    if not trial.complete:
        return trial
    point = _point(trial)
    return replace(
        trial,
        latency_ms=timed.latency_ms.get(trial.model),
        size_mb=timed.size_mb.get(trial.model),
        interval=wilson_interval(point.right, point.n),
    )


def _point(trial: ComparedTrial) -> Point:
    assert trial.val_accuracy is not None
    assert trial.n_val is not None
    return Point(trial.name, round(trial.val_accuracy * trial.n_val), trial.n_val, trial.p50_ms)


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


def _nothing(rows: Sequence[ComparedTrial]) -> str:
    failed = [row for row in rows if row.reason]
    if failed:
        return f"no trial succeeded; the first, {failed[0].name}: {failed[0].reason}"
    return f"{rows[0].name} was left behind, and no trial is finished. Add --resume to go on with it."
