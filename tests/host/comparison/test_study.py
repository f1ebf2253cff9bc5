"""Who gets which trial: alone, beside another process, after a kill, with fewer trials than combinations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.comparison import study
from edge_tl.host.comparison.combinations import Combination, Grid
from edge_tl.host.comparison.record import TrialFacts
from edge_tl.host.comparison.study import GridStudy
from edge_tl.host.recipe import load
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint

GRID = Grid(("resnet18", "mobilenet_v2"), ("head", "full"), (1e-3, 4e-3, 1e-2))
NAMES = [c.name for c in GRID.combinations()]

# Another process that opens the same study; {body} works on `grid_study`.
WORKER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_study import opened
from edge_tl.host.comparison import study
grid_study = opened(Path({out!r}))
{body}
"""


def wanted(grid: Grid = GRID, **train: object) -> dict[str, Recipe]:
    return {
        c.name: load.parse(
            {
                "data": {"path": "images"},
                "model": {"name": c.model},
                "train": {"strategy": c.strategy, "lr": c.lr, **train},
            }
        )
        for c in grid.combinations()
    }


def opened(out: Path, **options: object) -> GridStudy:
    return study.open_study(GRID, wanted(), out, study.StudyOptions(**options))  # type: ignore[arg-type]


def elsewhere(out: Path, body: str) -> subprocess.Popen[str]:
    code = WORKER.format(tests=str(Path(__file__).parent), out=str(out), body=body)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def drain(grid_study: GridStudy, value: Callable[[str], float] = lambda name: 0.5) -> list[str]:
    done = []
    while taken := study.next_trial(grid_study):
        trial, name, lock = taken
        grid_study.study.tell(trial, value(name))
        lock.release()
        done.append(name)
    return done


def test_a_head_is_one_trial_whatever_the_rates() -> None:
    assert NAMES == [
        "resnet18-head",
        "resnet18-full-lr0.001",
        "resnet18-full-lr0.004",
        "resnet18-full-lr0.01",
        "mobilenet_v2-head",
        "mobilenet_v2-full-lr0.001",
        "mobilenet_v2-full-lr0.004",
        "mobilenet_v2-full-lr0.01",
    ]
    assert Combination("timm:resnet18.a1", "head").name == "timm-resnet18.a1-head"
    assert [c.lr for c in Grid(("a",), ("head", "full")).combinations()] == [None, None]


def test_every_combination_is_tried_once_and_optuna_knows_its_parameters(tmp_path: Path) -> None:
    grid_study = opened(tmp_path)
    assert study.queue_trials(grid_study, resumed=False) == []
    study.queue_trials(opened(tmp_path), resumed=False)  # a second process queues nothing twice
    assert drain(grid_study) == NAMES
    assert drain(opened(tmp_path)) == []
    trials = grid_study.study.get_trials()
    assert [t.params for t in trials[:2]] == [
        {"model": "resnet18", "strategy": "head"},
        {"model": "resnet18", "strategy": "full", "lr": 0.001},
    ]


def test_two_processes_share_one_study_and_repeat_nothing(tmp_path: Path) -> None:
    body = """
study.queue_trials(grid_study, resumed=False)
while taken := study.next_trial(grid_study):
    trial, name, lock = taken
    print(name, flush=True)
    time.sleep(0.3)
    grid_study.study.tell(trial, 0.5)
    lock.release()
"""
    workers = [elsewhere(tmp_path, body) for _ in range(2)]
    did = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(did[0] + did[1]) == sorted(NAMES)
    assert len(opened(tmp_path).study.get_trials()) == len(NAMES)


def test_what_a_killed_process_left_behind_is_taken_up_only_when_asked(tmp_path: Path) -> None:
    study.queue_trials(opened(tmp_path), resumed=False)
    worker = elsewhere(
        tmp_path, "held = study.next_trial(grid_study); print(held[1], flush=True); os.kill(os.getpid(), 9)"
    )
    left = worker.communicate(timeout=120)[0].strip()
    assert left == NAMES[0]
    grid_study = opened(tmp_path)
    assert study.stale(grid_study) == [left]
    assert study.running_elsewhere(grid_study) == []
    assert study.queue_trials(grid_study, resumed=False) == [left]
    assert drain(grid_study) == NAMES[1:]
    assert study.queue_trials(grid_study, resumed=True) == [left]
    assert drain(grid_study) == [left]
    assert study.stale(grid_study) == []


def test_what_a_living_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    grid_study = opened(tmp_path)
    study.queue_trials(grid_study, resumed=False)
    worker = elsewhere(
        tmp_path, "held = study.next_trial(grid_study); print(held[1], flush=True); time.sleep(60)"
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == NAMES[0]
        assert study.running_elsewhere(grid_study) == [NAMES[0]]
        assert study.queue_trials(grid_study, resumed=True) == []
        assert drain(grid_study) == NAMES[1:]
    finally:
        worker.kill()
        worker.communicate()
    assert study.stale(grid_study) == [NAMES[0]]


def test_what_failed_is_tried_again_by_the_next_call_only(tmp_path: Path) -> None:
    grid_study = opened(tmp_path)
    study.queue_trials(grid_study, resumed=False)
    taken = study.next_trial(grid_study)
    assert taken is not None
    grid_study.study.tell(taken[0], state=optuna.trial.TrialState.FAIL)
    taken[2].release()
    assert drain(grid_study) == NAMES[1:]
    again = opened(tmp_path)
    study.queue_trials(again, resumed=False)
    assert drain(again) == [NAMES[0]]
    assert study.latest(again)[NAMES[0]].state == optuna.trial.TrialState.COMPLETE


def test_fewer_trials_are_distinct_repeatable_and_go_where_accuracy_is(tmp_path: Path) -> None:
    def value(name: str) -> float:
        return 0.9 if name.startswith("resnet18-full") else 0.1

    runs = []
    for place in ("a", "b"):
        grid_study = opened(tmp_path / place, budget=6, seed=3)
        study.queue_trials(grid_study, resumed=False)
        runs.append(drain(grid_study, value))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 6
    assert set(runs[0]) < set(NAMES)
    best = grid_study.study.best_trial.params
    assert (best["model"], best["strategy"]) == ("resnet18", "full")


def test_a_database_keeps_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    grid_study = opened(tmp_path / "out", storage=url, name="mine")
    study.queue_trials(grid_study, resumed=False)
    assert drain(grid_study) == NAMES
    assert len(optuna.load_study(study_name="mine", storage=url).get_trials()) == len(NAMES)
    assert not (tmp_path / "out" / study.JOURNAL).exists()


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/x.db", "nosuch://host/db"])
def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput, match="--storage"):
        opened(tmp_path, storage=url)


def test_a_study_of_another_grid_is_refused(tmp_path: Path) -> None:
    study.queue_trials(opened(tmp_path, name="mine"), resumed=False)
    small = Grid(("resnet50",), ("head",))
    with pytest.raises(BadInput, match="another --study"):
        study.open_study(small, wanted(small), tmp_path, study.StudyOptions(name="mine"))
    study.open_study(small, wanted(small), tmp_path)  # by default a grid has a study of its own


def test_trials_of_other_settings_are_refused(tmp_path: Path) -> None:
    name = "resnet18-full-lr0.004"
    run = tmp_path / study.TRIALS / name
    checkpoint.write_recipe(run, wanted()[name])
    (run / checkpoint.STATE).write_bytes(b"")
    opened(tmp_path)
    with pytest.raises(BadInput, match=r"train\.epochs = the default, and this asks for 3"):
        study.open_study(GRID, wanted(epochs=3), tmp_path)
    (run / checkpoint.STATE).unlink()  # one that failed before it trained binds nobody
    study.open_study(GRID, wanted(epochs=3), tmp_path)


def test_no_trials_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--trials 0"):
        opened(tmp_path, budget=0)


def test_the_facts_of_a_trial_that_cannot_be_read_do_not_speak_of_a_bundle() -> None:
    with pytest.raises(BadInput) as caught:
        TrialFacts.from_json({"epochs": "three"}, "trial resnet50-head")
    assert str(caught.value) == (
        "trial resnet50-head: epochs: 'three'. It should be a whole number; run edge-tl compare again, with --out "
        "another folder."
    )
    assert type(caught.value) is BadInput
