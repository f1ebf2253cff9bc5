"""Every verb's help ends with commands that the program takes as they are."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from edge_tl.cli import app
from edge_tl.cli._examples import EXAMPLES
from edge_tl.cli._verbs import VERBS

RunCli = Callable[..., Any]
ALL = [(verb, command) for verb, commands in EXAMPLES.items() for command in commands]


def made(folder: Path, record: str, beside: str) -> None:
    """What `latest` takes for a run or a bundle."""
    (folder / beside).mkdir(parents=True)
    (folder / record).touch()


def test_every_verb_has_some() -> None:
    verbs = {verb for verb in VERBS if verb != "recipes"} | {
        f"recipes {n}" for n in "ls show copy check".split()
    }
    assert set(EXAMPLES) == verbs
    assert all(1 <= len(commands) <= 3 for commands in EXAMPLES.values())


@pytest.mark.parametrize(("verb", "typed"), ALL)
def test_the_parser_takes_every_one(
    verb: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs" / "photos", "run.json", "model.safetensors")
    made(tmp_path / "exported" / "photos", "bundle.json", "golden")
    words = shlex.split(typed)
    assert words[: len(verb.split()) + 1] == ["edge-tl", *verb.split()]
    assert typed.isascii()
    assert len(typed) <= 110
    command: Any = typer.main.get_command(app)
    context = command.make_context("edge-tl", words[1:])
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "get_command"):
        command = command.get_command(context, rest[0])
        # Raises a usage error, or what an option's callback finds wrong.
        context = command.make_context(rest[0], rest[1:], parent=context)
        rest = [*getattr(context, "_protected_args", ()), *context.args]
    assert rest == []


@pytest.mark.parametrize("verb", EXAMPLES)
def test_the_help_ends_with_them(run_cli: RunCli, verb: str) -> None:
    shown = run_cli(*verb.split(), "--help").out
    end = shown.rstrip().splitlines()[-len(EXAMPLES[verb]) - 1 :]
    assert end[0] in ("Example:", "Examples:")
    assert tuple(line.strip() for line in end[1:]) == EXAMPLES[verb]
    for option in ("-q, --quiet", "-v, --verbose"):
        assert option in shown


def test_an_option_that_is_not_there_is_found() -> None:
    """The parser's refusal reaches the test above."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("edge-tl", ["verify", "b", "--no-such-option"])
    with pytest.raises(Exception, match="no-such-option"):
        command.get_command(context, "verify").make_context("verify", ["b", "--no-such-option"])
