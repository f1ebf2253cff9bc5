"""Processes of our own: never the working folder's code, always this package's, and none outlives who started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import edge_tl
from edge_tl.device import spawn
from edge_tl.device.runtimes.try_device import try_device

NAMES = ("queue", "numpy", "json", "tempfile", "runpy", "importlib", "ctypes", "edge_tl", "onnxruntime")
SHOW = """
import json, sys
import edge_tl, numpy, queue
print(json.dumps({"path": sys.path, "argv": sys.argv, "edge_tl": edge_tl.__file__, "name": __name__}))
"""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which the usual names are taken by files that say that they ran."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        )
    monkeypatch.chdir(folder)
    return tmp_path / "ran"


def test_a_child_runs_nothing_of_the_working_folder(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "shows.py").write_text(SHOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))  # a person's own path keeps working
    done = subprocess.run(spawn.command("shows", "a", "b c"), capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert not trap.exists()
    assert seen["argv"][1:] == ["a", "b c"]
    assert seen["name"] == "__main__"
    assert seen["edge_tl"] == os.path.abspath(edge_tl.__file__)
    assert {"", os.getcwd()}.isdisjoint(seen["path"])


@pytest.mark.parametrize("empty", ["{}:", ":{}", "{}::{}", "{}:."])
def test_nor_where_pythonpath_has_an_empty_entry(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "shows.py").write_text(SHOW)
    home = Path(edge_tl.__file__).parents[1]
    path = empty.replace("{}", f"{own}:{home}").replace(":", os.pathsep)
    monkeypatch.setenv("PYTHONPATH", path)
    if path.endswith("."):  # a person wrote it out: it is theirs, after what comes before it
        for name in NAMES:
            Path(f"{name}.py").unlink()
        (Path.cwd() / "mine.py").write_text("print('mine')\n")
        assert subprocess.check_output(spawn.command("mine"), text=True) == "mine\n"
        return
    subprocess.run(spawn.command("shows"), capture_output=True, check=True)
    for name in ("runpy", "importlib", "edge_tl"):  # Python itself looks these up before our first line
        Path(f"{name}.py").unlink()
    (Path.cwd() / "__future__.py").write_text(Path("queue.py").read_text())
    script = "import sys; del sys.path[0]; from edge_tl.__main__ import main; main()"  # as `edge-tl` starts
    for command in (["-m", "edge_tl"], ["-c", script]):
        done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert not trap.exists(), trap.read_text()


def test_a_device_is_tried_without_it_too(trap: Path) -> None:
    assert try_device("onnxruntime", "CPU").works
    assert not trap.exists()


@pytest.mark.parametrize("verb", [["--help"], ["verify", "--help"], ["devices", "--json"]])
def test_python_m_edge_tl_imports_nothing_of_it(trap: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]):
    monkeypatch.setenv("PYTHONPATH", str(Path(edge_tl.__file__).parents[1]))
    for name in ("runpy", "importlib", "edge_tl"):  # Python itself looks these up before our first line
        Path(f"{name}.py").unlink()
    done = subprocess.run([sys.executable, "-m", "edge_tl", *verb], capture_output=True, text=True)
    assert not trap.exists(), trap.read_text()
    assert done.returncode == 0, done.stderr


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeps.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(edge_tl.__file__).parents[1])]))
    start = (
        "import subprocess, sys; from edge_tl.device import spawn; "
        "p = subprocess.Popen(spawn.command('sleeps'), stdout=subprocess.PIPE); "
        "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        for _ in range(600):
            if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.05)
    child.kill()
    raise AssertionError("the child outlived its parent")
