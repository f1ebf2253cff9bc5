"""`--on` on the command line: what is forwarded, what is refused, and what a person watches and reads."""

from __future__ import annotations

import enum
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from edge_tl.cli import _options, _remote_run
from edge_tl.device.errors import BadInput
from edge_tl.host.listeners import DeviceEvent
from edge_tl.host.remote.job import DeviceResult
from edge_tl.host.remote.run_all import RemoteResult
from edge_tl.host.remote.upload import Tree

RunCli = Callable[..., Any]
RECORDS = Path(__file__).parents[1] / "records/version-1"


class Kind(enum.Enum):
    one = "un"


def test_what_was_typed_is_forwarded_and_nothing_else(tmp_path: Path):
    """Of a verb with every kind of option, so that a new option of `bench` is forwarded too."""
    app, words = typer.Typer(), []

    @app.command()
    def bench(
        ctx: typer.Context,
        bundle: Path,
        artifact: Annotated[list[str] | None, typer.Option("-a", "--artifact")] = None,
        quick: Annotated[bool, typer.Option("--quick/--slow")] = True,
        fps: float | None = None,
        count: int = 5,
        kind: Kind | None = None,
        images: Path | None = None,
        on: _options.On = None,
        out: Path | None = None,
        json: bool = False,
    ) -> None:
        words.extend(_remote_run.forwarded(ctx))

    (tmp_path / "i.png").write_text("x")
    typed = [
        "b",
        "-a",
        "x y",
        "--artifact",
        "-z",
        "--slow",
        "--fps",
        "1e1",
        "--kind",
        "un",
        "--on",
        "h",
        "--json",
    ]
    done = CliRunner().invoke(app, [*typed, "--out", "o", "--images", str(tmp_path / "i.png")])
    assert done.exit_code == 0, done.output
    *plain, tree = words
    assert plain == ["--artifact=x y", "--artifact=-z", "--slow", "--fps=10.0", "--kind=un", "--images"]
    assert isinstance(tree, Tree)
    assert tree.name == "i.png"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["devices", "--wheels", "."], "--on"),
        (["devices", "--on", "x", "--on", "x"], "given twice"),
        (["devices", "--on=-oProxyCommand=touch pwned"], "dash"),
        (["devices", "--targets", "absent.yaml"], "cannot read absent.yaml"),
        (["devices", "--on", "x", "--ssh", "no-such-ssh"], "no such program"),
        (["devices", "--on", "x", "--out", "file"], "a file is there"),
        (["devices", "--on", "x", "--out", "file/home"], "--out file/home: cannot write there"),
        (["devices", "--on", "x", "--wheels", "."], "holds no .whl"),
        (["verify", "absent", "--on", "x"], "no such bundle"),
        (["bench", "absent", "--on", "x"], "no such bundle"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_sent(run_cli: RunCli, words: list[str], expected: str):
    Path("file").write_text("")
    done = run_cli(*words)
    assert done.code == 2, done
    assert done.out == ""
    [line] = done.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["file"]


RAN = {"device": "CPU", "precision": "fp32", "threads": 4}
MS = {"p50": 1.234, "p90": 2.0, "p99": None, "n": 100}


def test_where_no_result_came_home_no_folder_is_left(run_cli: RunCli):
    done = run_cli("devices", "--on", "shed", "--ssh", "false", "--out", "home/of/results", "--json")
    assert (done.code, [entry["status"] for entry in done.json["devices"]]) == (1, ["error"])
    assert not Path("home").exists()


def bench_result() -> dict[str, Any]:
    """A result of one artifact, of which one more was skipped."""
    found: dict[str, Any] = json.loads((RECORDS / "bench.json").read_text(encoding="utf-8"))
    [kept] = [row for row in found["artifacts"] if row["id"] == "onnx-fp32"]
    skipped = [{"artifact": "b", "reason": "no openvino"}]
    return found | {"artifacts": [kept | {"id": "a", "latency_ms": MS, "ran": RAN}], "skipped": skipped}


def test_a_summary_names_every_device():
    shed = DeviceResult("shed", "pi@shed", "passed", exit_code=0, result=bench_result())
    loft = DeviceResult("loft", "pi@loft", "error", step="copy", error="its disk is full.")
    text = _remote_run.summary(RemoteResult("bench", (shed, loft)))
    assert "shed    a           1.23    2.00       —    100  CPU fp32 x4" in text
    assert "shed: skipped b: no openvino" in text
    assert "loft: FAILED at copy: its disk is full." in text
    assert text.endswith("1 of 2 devices returned a result.")
    other = replace(shed, result={"pace": {"fps": 10}})
    assert "--out DIR" in _remote_run.summary(RemoteResult("bench", (other,)))
    only = _remote_run.summary(RemoteResult("devices", (loft,)))
    assert only.startswith("loft: FAILED")


def test_a_summary_of_devices_has_a_line_each(run_cli: RunCli):
    here = DeviceResult("shed", "pi@shed", "passed", exit_code=0, result=run_cli("devices", "--json").json)
    text = _remote_run.summary(RemoteResult("devices", (here,)))
    assert re.search(r"^shed +\S.* \d+ of \d+ .*onnxruntime \d", text, re.MULTILINE)
    assert text.endswith("1 of 1 devices returned a result.")


def test_what_is_done_with_results_is_not_forwarded():
    app = typer.Typer()

    @app.command()
    def bench(ctx: typer.Context, save: bool = False, compare: bool = False) -> None:
        assert ctx.params["save"]
        if not compare:
            assert _remote_run.forwarded(ctx) == [], "it is saved here, not there"
            return
        with pytest.raises(BadInput, match="--compare is for results that are here"):
            _remote_run.forwarded(ctx)

    for words in (["--save"], ["--save", "--compare"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.exception


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_off_a_terminal_are_one_a_step(capsys: pytest.CaptureFixture[str]):
    with _remote_run.DeviceLines(["shed"]) as lines:
        for step, note in (
            ("copy", "1 of 2 MB"),
            ("copy", "2 of 2 MB"),
            ("run", "bench"),
            ("done", "passed"),
        ):
            lines.event(DeviceEvent("shed", step, note))
    assert capsys.readouterr().err.splitlines() == [
        "shed: copy: 1 of 2 MB",
        "shed: run: bench",
        "shed: done: passed",
    ]


def test_lines_on_a_terminal_fit_it(monkeypatch: pytest.MonkeyPatch):
    for key, value in {"COLUMNS": "60", "LINES": "20", "TERM": "xterm"}.items():
        monkeypatch.setenv(key, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with _remote_run.DeviceLines(["shed", "nuc", "loft"]) as lines:
        lines.event(DeviceEvent("shed", "done", "passed"))
        lines.event(DeviceEvent("nuc", "environment", "downloading " * 9))
        lines.event(DeviceEvent("loft", "failed", "its disk is full, " * 9 + "the end"))
    shown = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in terminal.getvalue().splitlines()]
    assert max(len(line) for line in shown) <= 60
    assert re.fullmatch(r"✓ shed +\d+ s done +passed", shown[0].strip())
    assert "environment" in shown[1]
    assert shown[1].rstrip().endswith("…")
    assert "loft" in shown[2]
    assert shown[2].split()[0] == "✗"
    assert any("the end" in line for line in shown[3:])  # a reason is never cut
