"""A factory is code: it is started when it was typed in this command, and for no file's sake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from host import records

from edge_tl import cli
from edge_tl.device.errors import BadInput
from edge_tl.host.models import architecture, factories
from edge_tl.host.runs import checkpoint

RECORD = replace(records.RECORD, labels=("a", "b"))
EVIL = """
from pathlib import Path
from torch import nn
Path("ran").write_text("x")
def run(): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose record names a factory beside the working folder."""
    monkeypatch.setenv(factories.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "evil_here", raising=False)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    checkpoint.claim(tmp_path / "run", ())
    checkpoint.save(tmp_path / "run", model, replace(RECORD, model="factory:evil_here:run"))
    (tmp_path / "evil_here.py").write_text(EVIL)
    return tmp_path / "run"


def test_a_run_starts_no_code_that_nobody_typed(foreign: Path):
    with pytest.raises(BadInput, match="code that a file may not start") as caught:
        checkpoint.load_run(foreign)
    assert "--factory evil_here:run" in str(caught.value)
    factories.permit_factory("factory:another:one")
    with pytest.raises(BadInput, match="code that a file may not start"):
        checkpoint.load_run(foreign)
    assert not Path("ran").exists()


def test_the_factory_that_was_typed_is_started(foreign: Path):
    factories.permit_factory("factory:evil_here:run")
    model, _ = checkpoint.load_run(foreign)
    assert isinstance(model, torch.nn.Sequential)
    assert Path("ran").exists()


def test_a_factory_exported_in_a_shell_is_not_typed(
    foreign: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    assert cli.FACTORY_VARIABLE == factories.VARIABLE
    monkeypatch.setenv(factories.VARIABLE, "factory:evil_here:run")
    done = run_cli("export", foreign)
    assert done.code == 2
    assert "code that a file may not start" in done.err
    assert not Path("ran").exists()


def test_export_asks_for_the_factory_again(foreign: Path, run_cli: Callable[..., Any]):
    done = run_cli("export", foreign, "--out", "bundle")
    assert done.code == 2
    assert "--factory evil_here:run" in done.err
    assert not Path("ran").exists()
    assert not Path("bundle").exists()


def test_a_run_of_the_zoo_needs_no_word(foreign: Path):
    checkpoint.save(foreign, architecture.build("mobilenet_v3_small", 2, pooled=True), RECORD)
    assert checkpoint.load_run(foreign)[1].model == "mobilenet_v3_small"
