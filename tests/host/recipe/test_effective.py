"""What `recipes check` says of a setting that is left open."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.host.recipe import builtin
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.effective import effective
from edge_tl.host.training import strategy

RunCli = Callable[..., Any]


@pytest.mark.parametrize("name", [path.stem for path in builtin.recipes()])
def test_nothing_is_none_and_the_next_command_is_one(run_cli: RunCli, name: str) -> None:
    done = run_cli("recipes", "check", name)
    assert done.code == 0
    assert "None" not in done.out
    command = done.err.splitlines()[-1].removeprefix("next: ")
    words = shlex.split(command)[1:]
    if name != "demo":  # it would run
        Path("FOLDER").mkdir()
        tried = run_cli(*words)
        assert "FOLDER" in tried.err  # an empty folder is the only fault: the recipe was found and read
        assert "no such recipe" not in tried.err


def test_values_are_those_that_a_training_takes() -> None:
    recipe = recipes.parse({"train": {"strategy": "partial"}, "augment": {"preset": "medium"}})
    found = effective(recipe)
    (stage,) = strategy.stages("partial", 9, recipe.train)
    assert found["train.epochs"] == f"{stage.epochs}"
    assert float(found["train.lr"]) == stage.lr
    assert found["augment.rotation"] == "10.0 (medium)"
    assert found["model.image_size"].startswith("224")
    assert found["data.path"].startswith("not set")
    head = effective(recipes.parse({"train": {"strategy": "head"}}))
    assert head["train.epochs"].startswith("none")
    assert "0.85 gradual" in effective(recipes.parse({}))["train.layer_decay"]


def test_patience_and_workers_are_those_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    found = effective(recipes.parse({"train": {"strategy": "full", "epochs": 30}}))
    assert found["train.patience"].startswith(f"{strategy.patience(None, 30)} epochs")
    assert "none" in effective(recipes.parse({"train": {"strategy": "head"}}))["train.patience"]
    for threads, workers in (("3", "3"), ("64", "16")):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert effective(recipes.parse({}))["train.workers"].startswith(f"{workers} here")


def test_what_is_set_is_not_among_them_and_unknown_models_do_not_fail() -> None:
    found = effective(recipes.parse({"train": {"lr": 0.1}, "model": {"name": "timm:nothing_like_it"}}))
    assert "train.lr" not in found
    assert found["model.mean"] == "the weights' own"
