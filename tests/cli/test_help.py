"""The help of every verb: defaults that are the recipe's, words in place of types, and the usual options."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl import __version__
from edge_tl.cli import _recipe_options, main
from edge_tl.host.recipe.schema import Recipe

RunCli = Callable[..., Any]
VERBS = "finetune import export report demo models compare verify predict devices bench tune slim".split()
VERBS += ["recipes ls", "recipes show", "recipes copy", "recipes check"]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_has_words_and_no_types(run_cli: RunCli, verb: str) -> None:
    shown = run_cli(*verb.split(), "-h")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == run_cli(*verb.split(), "--help").out
    assert not re.search(r"<|list\[|INTEGER", shown.out)
    assert shown.out.startswith(f"Usage: edge-tl {verb}".rstrip())


def test_the_version_and_completion(
    run_cli: RunCli, shell: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shell is the one that is named: a job of a scheduler has none above it to be found.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert (run_cli("--version").out, run_cli("--version").code) == (f"edge-tl {__version__}\n", 0)
    script = run_cli("--show-completion", "bash")
    assert "_EDGE_TL_COMPLETE=complete_bash" in script.out
    words = {"_EDGE_TL_COMPLETE": "complete_bash", "COMP_WORDS": "edge-tl fin", "COMP_CWORD": "1"}
    assert shell(env=words).out.split() == ["finetune"]
    words |= {"COMP_WORDS": "edge-tl export run --target-cpu a", "COMP_CWORD": "4"}
    assert shell(env=words).out.split() == ["any", "avx2", "arm"]
    installed = shell(
        "--install-completion",
        "bash",
        env={"HOME": str(tmp_path)} | dict(os.environ) | {"HOME": str(tmp_path)},
    )
    assert installed.code == 0, installed.err
    assert any("edge-tl" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("verb", "defaults"),
    [
        ("finetune", ["mobilenet_v2", "imagenet", "auto", "32", "light", "weights' own", "6 to 10"]),
        ("export", ["0.5", "up-to=5", "any", "no-int8"]),
        ("bench", ["7, with --quick 5", "30", "CPU"]),
        ("predict", ["the recommended one", "3"]),
        ("compare", ["mobilenet_v2", "head,lp-ft"]),
    ],
)
def test_help_shows_what_is_not_given(run_cli: RunCli, verb: str, defaults: list[str]) -> None:
    text = " ".join(run_cli(verb, "--help").out.split())
    for value in defaults:
        assert re.search(rf"\[default: \(?[^\]]*{re.escape(value)}", text), value


def test_the_defaults_of_the_help_are_the_recipes() -> None:
    settings = Recipe().model_dump()
    for key, shown in _recipe_options.DEFAULTS.items():
        section, _, field = key.partition(".")
        value = settings[section][field] if field else settings.get(section)
        if value is None or value == [] or value is False:
            assert not re.fullmatch(r"[\d.]+", shown), key
        elif key == "export.ladder":
            assert shown == f"up-to={value}"
        elif field or key == "seed":
            assert shown == str(value), key


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["finetune"], "missing argument 'DATA_OR_RECIPE'. See `edge-tl finetune --help`."),
        (["finetunes", "x"], "no such command 'finetunes'"),
        (["verify", "b", "--dat", "x"], "no such option: --dat"),
        (["verify", "b", "c"], "got unexpected extra argument"),
        (["predict", "b", "x", "--top", "-1"], "--top -1: too small: give 1 or more. See `edge-tl predict"),
        (["serve", "b", "--port", "99999"], "--port 99999: too large: give 65535 or less."),
        (["verify", "b", "--data"], "option --data needs a value after it. See `edge-tl verify --help`."),
    ],
)
def test_a_usage_error_is_one_line(typed: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"error: {words[:20]}")
    assert words in said
    assert said.count("\n") == 1
    assert "--help`." in said
