"""The study of a comparison: which combinations there are, which are queued, tried or running, and which is next.

Trains nothing. Optuna keeps the trials, so several processes, and machines that share the folder, can work on
one study; a lock per trial, which the system frees when its process dies, tells a trial that runs from one whose
process is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Json
from edge_tl.host.comparison.combinations import HEAD, Combination, Grid
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint

JOURNAL, TRIALS = "study.journal", "trials"
NAME = "name"  # user attribute of every trial
DRAWS = 100


@dataclass(frozen=True)
class GridStudy:
    """An open study of `grid`; the run of each trial is `out`/trials/NAME, of the recipe of that name.

    `budget` is how many combinations are tried; fewer than the grid has are chosen by Optuna's TPE sampler.
    """

    study: Any
    grid: Grid
    recipes: dict[str, Recipe]
    out: Path
    budget: int
    seed: int

    @property
    def whole(self) -> bool:
        """Whether every combination is tried."""
        return self.budget == len(self.recipes)

    def run(self, name: str) -> Path:
        """The folder of a trial."""
        return self.out / TRIALS / name

    def lock(self, name: str) -> FileLock:
        """Held by the process that works on the trial `name`; freed by the system when that process ends."""
        return FileLock(self.out / TRIALS / f".{name}.lock")

    def queue_lock(self) -> FileLock:
        """Held while trials are queued, taken or taken back."""
        return FileLock(self.out / TRIALS / ".queue.lock")


@dataclass(frozen=True)
class StudyOptions:
    """The study's name (None: the folder's, and a digest of the grid), its storage (an Optuna URL; None: a journal in
    the folder), how many combinations are tried (None: all), and the seed."""

    name: str | None = None
    storage: str | None = None
    budget: int | None = None
    seed: int = 0


USUAL = StudyOptions()


def open_study(grid: Grid, wanted: dict[str, Recipe], out: Path, options: StudyOptions = USUAL) -> GridStudy:
    """Open or make the study of `grid` in the folder `out`. `wanted` has the recipe of every combination, by its name.

    Raises `BadInput` for a storage that cannot be opened, and where `out` holds trials of other settings.
    """
    budget, seed = options.budget, options.seed
    if budget is not None and budget < 1:
        raise BadInput(f"--trials {budget}: try at least 1 of the {len(wanted)} combinations.")
    for trial, recipe in wanted.items():
        _same_settings(out / TRIALS / trial, recipe)
    (out / TRIALS).mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(options.name or f"{out.resolve().name}-{grid.key()}", options.storage, out, seed)
    grid_study = GridStudy(study, grid, wanted, out, min(budget or len(wanted), len(wanted)), seed)
    if foreign := [trial for trial in latest(grid_study) if trial not in wanted]:
        raise BadInput(
            f"study {study.study_name}: it has a trial {foreign[0]}, which is not in this grid. "
            "Choose another --study."
        )
    return grid_study


def latest(grid_study: GridStudy) -> dict[str, FrozenTrial]:
    """Each combination's last trial, by name: one that failed may have been tried again."""
    trials = grid_study.study.get_trials(deepcopy=False)
    return {trial.user_attrs[NAME]: trial for trial in trials if NAME in trial.user_attrs}


def stale(grid_study: GridStudy) -> list[str]:
    """Trials that are marked as running and whose process is gone."""
    return [name for name in _running(grid_study) if _free(grid_study, name)]


def running_elsewhere(grid_study: GridStudy) -> list[str]:
    """Trials that another process is working on now."""
    with grid_study.queue_lock():  # no process is between taking a trial and locking it
        return [name for name in _running(grid_study) if not _free(grid_study, name)]


def queue_trials(grid_study: GridStudy, *, resumed: bool) -> list[str]:
    """Queue what has not been tried, and again what failed; with `resumed` also what a dead process left behind.

    Returns what was left behind.
    """
    with grid_study.queue_lock():
        gone = stale(grid_study)
        known = latest(grid_study)
        for name in gone if resumed else []:
            grid_study.study.tell(known[name].number, state=TrialState.FAIL)
        known = latest(grid_study)
        for combination in grid_study.grid.combinations():
            trial = known.get(combination.name)
            if (trial is None and grid_study.whole) or (trial is not None and trial.state == TrialState.FAIL):
                _queue(grid_study.study, combination)
    return gone


def next_trial(grid_study: GridStudy) -> tuple[Any, str, FileLock] | None:
    """The next trial, its name and its lock, which is held and which the caller releases; None when none is left."""
    with grid_study.queue_lock():
        known = latest(grid_study)
        if not any(trial.state == TrialState.WAITING for trial in known.values()):
            if grid_study.whole or len(known) >= grid_study.budget:
                return None
            _queue(grid_study.study, _proposed(grid_study, known))
        trial = grid_study.study.ask()
        name = str(trial.user_attrs[NAME])
        _suggest(trial, grid_study.grid)  # so that the study knows the parameters, and not its queue alone
        lock = grid_study.lock(name)
        lock.acquire()
        return trial, name, lock


def _open(name: str, storage: str | None, out: Path, seed: int) -> Any:
    from sqlalchemy.exc import SQLAlchemyError

    opened: Any = storage
    try:
        if storage is None:
            # Of Optuna's two locks the other one, a symbolic link, is never freed after a kill if the path is relative.
            journal = str(out.resolve() / JOURNAL)
            lock = optuna.storages.journal.JournalFileOpenLock(journal)
            backend = optuna.storages.journal.JournalFileBackend(journal, lock_obj=lock)
            opened = optuna.storages.JournalStorage(backend)
        return optuna.create_study(
            study_name=name,
            storage=opened,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=seed),  # of no effect: every trial is queued
        )
    except (ImportError, ValueError, OSError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        where = f"--storage {storage}" if storage else str(out / JOURNAL)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(
            f"{where}: cannot open the study {name} ({reason}). Check the URL and --study."
        ) from None


def _proposed(grid_study: GridStudy, known: dict[str, FrozenTrial]) -> Combination:
    """A combination not tried yet, as TPE (Bergstra et al., 2011) suggests from the finished trials.

    Drawn in a scratch study: TPE may well propose what is known, and the real study shall hold no repeats.
    """
    sampler = optuna.samplers.TPESampler(
        seed=grid_study.seed + len(known), n_startup_trials=max(2, grid_study.budget // 3)
    )
    scratch = optuna.create_study(direction="maximize", sampler=sampler)
    scratch.add_trials([trial for trial in known.values() if trial.state == TrialState.COMPLETE])
    for _ in range(DRAWS):
        drawn = _suggest(scratch.ask(), grid_study.grid)
        if drawn.name not in known:
            return drawn
    return next(c for c in grid_study.grid.combinations() if c.name not in known)


def _suggest(trial: Any, grid: Grid) -> Combination:
    model = trial.suggest_categorical("model", grid.models)
    strategy = trial.suggest_categorical("strategy", grid.strategies)
    if strategy == HEAD or not grid.lrs:
        return Combination(model, strategy)
    return Combination(model, strategy, trial.suggest_categorical("lr", grid.lrs))


def _queue(study: Any, combination: Combination) -> None:
    values: dict[str, str | float] = {"model": combination.model, "strategy": combination.strategy}
    if combination.lr is not None:
        values["lr"] = combination.lr
    study.enqueue_trial(values, user_attrs={NAME: combination.name})


def _running(grid_study: GridStudy) -> list[str]:
    return [name for name, trial in latest(grid_study).items() if trial.state == TrialState.RUNNING]


def _free(grid_study: GridStudy, name: str) -> bool:
    lock = grid_study.lock(name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    lock.release()
    return True


def _same_settings(run: Path, recipe: Recipe) -> None:
    """Raise `BadInput` when the folder holds a training, finished or not, of another recipe."""
    if not any((run / kept).is_file() for kept in (checkpoint.RECORD, checkpoint.STATE)):
        return
    there = recipes.parse(recipes.read_settings(run / checkpoint.RECIPE), source=str(run / checkpoint.RECIPE))
    before, now = (_flat(some.model_dump(mode="json")) for some in (there, recipe))
    for key, value in now.items():
        if key == "train.epochs" and recipe.train.strategy == there.train.strategy == HEAD:
            continue  # a head is solved, whatever the others' epochs are
        if before.get(key) != value:
            was, asked = ("the default" if v is None else repr(v) for v in (before.get(key), value))
            raise BadInput(
                f"{run}: trained with {key} = {was}, and this asks for {asked}. Choose another --out."
            )


def _flat(settings: dict[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
