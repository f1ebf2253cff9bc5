"""The verbs are imported when they are run: help and completion need their names and one line each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import _verbs
from edge_tl.cli._verbs import VERBS

RunCli = Callable[..., Any]
PACKAGE = Path(_verbs.__file__).parent


@pytest.mark.parametrize("name", VERBS)
def test_the_line_in_the_help_is_the_first_of_the_verbs_own(name: str) -> None:
    assert str(_verbs.load(name).help).splitlines()[0] == VERBS[name].summary


def test_every_verb_is_a_file_and_every_other_file_is_private() -> None:
    files = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_")}
    assert files == {verb.module for verb in VERBS.values()}


def test_no_line_of_the_help_is_cut(run_cli: RunCli) -> None:
    shown = run_cli("--help").out
    for name, verb in VERBS.items():
        assert f"  {name}{' ' * (10 - len(name))}{verb.summary}\n" in shown


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["devices", "--help"]])
def test_help_imports_no_other_verb(words: list[str]) -> None:
    code = (
        "import sys; from edge_tl.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "edge_tl.cli._verbs" in loaded
    found = {name for name, verb in VERBS.items() if f"edge_tl.cli.{verb.module}" in loaded}
    assert found == set(words) & set(VERBS)
    # What costs more than all of Typer: --help is to take less than 0.2 s of CPU.
    heavy = {"numpy", "PIL", "rich", "torch"}
    if not found:  # Typer itself imports pydantic for a verb's options, where it is installed
        heavy |= {"pydantic", "importlib.metadata"}
    assert loaded & heavy == set()


def test_a_verb_that_is_misspelled_is_answered_with_the_nearest(run_cli: RunCli) -> None:
    done = run_cli("verfy")
    assert done.code == 2
    assert done.err == "error: no such command 'verfy'. Did you mean 'verify'? See `edge-tl --help`.\n"
