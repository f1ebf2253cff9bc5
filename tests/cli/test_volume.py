"""-q says the result alone, -v says more, NO_COLOR and a pipe get plain lines, a terminal lines of its width."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import _console, _listeners
from edge_tl.cli._listeners import LiveListener, PlainListener, QuietListener, open_listener, pace, per_second

RunCli = Callable[..., Any]
REPOSITORY = Path(__file__).parents[2]
VERB = ("devices",)  # says something in all three, within a second


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def normal() -> Any:
    yield
    _console.begin([])


def test_quiet_leaves_the_result(run_cli: RunCli) -> None:
    plain, quiet = run_cli(*VERB), run_cli(*VERB, "-q")
    assert "next:" in plain.err
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == plain.out


def test_verbose_says_more_and_leaves_stdout_alone(run_cli: RunCli) -> None:
    plain, more = run_cli(*VERB, "--json"), run_cli(*VERB, "--json", "--verbose")
    json.loads(more.out)
    said = more.err.splitlines()
    assert said[0].startswith("edge-tl ")
    assert any(line.startswith("not given: --ssh ssh") for line in said)
    assert any(re.match(r"took \d+\.\d s; .* of memory here$", line) for line in said)
    assert len(said) >= len(plain.err.splitlines()) + 5


def test_the_volume_is_that_of_one_command(run_cli: RunCli) -> None:
    run_cli(*VERB, "-q")
    assert "next:" in run_cli(*VERB).err


def test_both_at_once_are_refused(run_cli: RunCli) -> None:
    refused = run_cli(*VERB, "-q", "-v")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "error: -q says less and -v says more. Give one of them.\n"


def test_warnings_and_errors_are_said_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    _console.set_volume(_console.QUIET)
    _console.say("a note")
    _console.say("warning: the machine was busy")
    _console.complain("it failed")
    with open_listener() as listener:
        assert isinstance(listener, QuietListener)
        listener.progress("gates", 1, 2)
        listener.note("a note")
        listener.note("warning: no timing")
    assert capsys.readouterr().err.splitlines() == [
        "warning: the machine was busy",
        "error: it failed",
        "warning: no timing",
    ]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_gives_lines_on_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    now = [0.0]
    monkeypatch.setattr(_listeners, "perf_counter", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with open_listener(LiveListener, lambda: PlainListener()) as drawn:
        assert isinstance(drawn, LiveListener)
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setenv(name, value)
    with open_listener() as listener:
        for second in range(0, 31):
            now[0] = float(second)
            listener.progress("features", second * 100, 3000)
    assert screen.getvalue().splitlines() == [
        "features …",
        "features: 1,000 of 3,000, 100/s, 0:00:20 left",
        "features: 2,000 of 3,000, 100/s, 0:00:10 left",
    ]


def test_verbose_lines_say_what_each_step_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(_listeners, "perf_counter", lambda: now[0])
    _console.set_volume(_console.VERBOSE)
    listener = PlainListener()
    listener.progress("gates", 0, 4)
    now[0] = 2.0
    listener.progress("gates", 4, 4)
    assert capsys.readouterr().err.splitlines() == ["gates …", "gates: 4 in 2.0 s, 2.0/s"]


def test_rates_are_read_easily() -> None:
    assert [per_second(rate) for rate in (203.4, 4.13, 0.08)] == ["203/s", "4.1/s", "12.5 s each"]
    assert pace(50, 0, 2.0) == "50, 25/s"
    assert pace(50, 100, 0.0) == "50 of 100"


@pytest.mark.parametrize(("columns", "width"), [("50", 50), ("", 80), ("0", 80), ("wide", 80)])
def test_sentences_have_the_width_of_the_terminal_or_80(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    _console.say("word " * 60)
    assert width - 5 < max(map(len, screen.getvalue().splitlines())) <= width


def on_a_terminal(folder: Path, words: list[str], **variables: str) -> str:
    """What `edge-tl WORDS` writes to a terminal that is its stdout and its stderr."""
    leader, follower = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "edge_tl", *words],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", "COLUMNS": "60"}
        | variables,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            more = os.read(leader, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(leader)
    done.wait(60)
    return shown.decode().replace("\r\n", "\n")


def test_a_real_terminal_gets_whole_words_and_the_hint_last(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path, ["verify", "no-such-bundle-of-a-long-name/and-below-it"], NO_COLOR="1")
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert any("no-such-bundle-of-a-long-name/and-below-it" in line for line in shown.splitlines())
    assert on_a_terminal(tmp_path, ["devices"]).rstrip().splitlines()[-1].startswith("next:")
