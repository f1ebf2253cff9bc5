"""Train the trials of a comparison one after the other, and tell the study what came of each.

Measures no latency and prints nothing.
"""

from __future__ import annotations

import time
from typing import Any

from optuna.trial import TrialState

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.format import percentage
from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.comparison import study
from edge_tl.host.comparison.record import ComparedTrial, State, TrialFacts
from edge_tl.host.comparison.study import GridStudy
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.record import RunRecord
from edge_tl.host.training.finetune import finetune

REASON, RESULT = "reason", "result"  # user attributes of a trial that has ended
POLL_SECONDS = 1.0


def run_trials(
    grid_study: GridStudy, *, resumed: bool = False, listener: Listener = SILENT
) -> list[ComparedTrial]:
    """Train until nothing is left, here or in the processes beside this one; the `outcomes` of the grid.

    A trial that fails is a failed one in the study, with its reason, and the others go on.
    """
    for name in study.queue_trials(grid_study, resumed=resumed):
        listener.note(
            f"{name} was left behind by a process that is gone"
            + ("" if resumed else ". Add --resume to go on with it.")
        )
    waited: set[str] = set()
    while True:
        taken = study.next_trial(grid_study)
        if taken:
            trial, name, lock = taken
            ended = sum(t.state.is_finished() for t in study.latest(grid_study).values())
            try:
                with listener.section(f"trial {ended + 1} of {grid_study.budget}: {name}") as section:
                    _train(grid_study, trial, name, section, resumed)
            finally:
                lock.release()
            continue
        busy = study.running_elsewhere(grid_study)
        if not busy:
            return outcomes(grid_study)
        for name in sorted(set(busy) - waited):
            listener.note(f"waiting for {name}, which another process trains")
        waited |= set(busy)
        time.sleep(POLL_SECONDS)


def outcomes(grid_study: GridStudy) -> list[ComparedTrial]:
    """What is known of every combination that was tried, in the grid's order; no latency yet."""
    known = study.latest(grid_study)
    gone = study.stale(grid_study)
    rows = []
    for combination in grid_study.grid.combinations():
        trial = known.get(combination.name)
        if trial is None:
            continue
        state: State = "complete" if trial.state == TrialState.COMPLETE else "failed"
        facts = TrialFacts.from_json(trial.user_attrs.get(RESULT) or {}, where=f"trial {combination.name}")
        rows.append(
            ComparedTrial(
                name=combination.name,
                model=combination.model,
                strategy=combination.strategy,
                lr=combination.lr,
                state="left behind" if combination.name in gone else state,
                reason=trial.user_attrs.get(REASON),
                trained=facts.trained,
                epochs=facts.epochs,
                accuracy=facts.accuracy,
                split=facts.split,
                n=facts.n,
                val_accuracy=facts.val_accuracy,
                n_val=facts.n_val,
                seconds=facts.seconds,
            )
        )
    return rows


def _train(grid_study: GridStudy, trial: Any, name: str, listener: Listener, resumed: bool) -> None:
    run = grid_study.run(name)
    finished = (run / checkpoint.RECORD).is_file()  # by another study in the same folder
    try:
        result = finetune(
            grid_study.recipes[name],
            run,
            resumed=resumed or finished,
            listener=listener,
        )
    except (EdgeTLError, OSError, RuntimeError) as error:  # RuntimeError: out of memory, above all
        reason = str(error) if isinstance(error, EdgeTLError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr(REASON, reason)
        grid_study.study.tell(trial, state=TrialState.FAIL)
        listener.note(f"{name} failed: {reason}")
        return
    facts = _facts(result.record)
    trial.set_user_attr(RESULT, facts.to_json())
    grid_study.study.tell(trial, facts.val_accuracy)
    listener.note(f"{name}: validation accuracy {percentage(facts.val_accuracy)}")


def _facts(record: RunRecord) -> TrialFacts:
    metrics, chosen = record.metrics, record.val_accuracy
    return TrialFacts(
        trained=record.strategy,
        epochs=len(record.history) or None,
        accuracy=metrics.accuracy,
        split=metrics.split,
        n=metrics.n,
        val_accuracy=metrics.accuracy if chosen is None else chosen,
        n_val=metrics.n if chosen is None else record.data.n.val,
        seconds=record.seconds.total,
    )
