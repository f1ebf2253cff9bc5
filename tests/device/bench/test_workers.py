"""Real processes: they time on request, keep their answers apart from banners, and never outlive whoever asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_tl.device.bench.workers import CHILD, Child, Children, Contestant
from edge_tl.device.errors import EdgeTLError


def gone(pid: int) -> bool:
    """Whether the process has ended; it gets some seconds for it."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def tiny(assets: Path) -> Contestant:
    spec = {"path": str(assets / "tiny.onnx"), "device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return Contestant("tiny", CHILD, spec)


def null() -> Contestant:
    return Contestant("null", CHILD, {"path": None, "shape": [1, 3, 8, 8]})


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Contestant:
    (tmp_path / "some_child.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return Contestant("x", "some_child", {"shape": [1, 3, 8, 8]})


def test_a_child_is_warm_then_answers_as_often_as_it_is_asked(assets: Path) -> None:
    with Children() as children:
        ready = children.start(tiny(assets), warmup=4, describe=True)
        assert ready["ran"]["threads"] == 1
        assert ready["warmup_calls"] >= 4
        assert min(ready["load_ns"], ready["first_ns"], ready["call_ns"]) > 0
        child = children.alive["tiny"]
        for count in (3, 7):
            assert len(child.ask(count=count, seconds=60)["samples_ns"]) == count
        run = child.ask(fps=200, seconds=0.05)
        assert run["intended_ns"] == [5_000_000 * i for i in range(10)]
        pid = child.pid
    assert gone(pid)


def test_the_null_runtime_is_a_contestant_too() -> None:
    with Children() as children:
        assert "ran" not in children.start(null(), warmup=1)
        assert len(children.alive["null"].ask(count=5, seconds=1)["samples_ns"]) == 5


def test_a_banner_on_stdout_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        "import json, os, sys\nfrom edge_tl.device.runtimes.open import NullRuntime\n"
        "from edge_tl.device.bench import worker\n"
        "class Loud(NullRuntime):\n"
        "    def __call__(self, inputs):\n"
        "        print('python banner', flush=True); os.write(1, b'native banner\\n')\n"
        "        return super().__call__(inputs)\n"
        "worker.serve(lambda: Loud(2), json.loads(sys.argv[1]))"
    )
    with Children() as children:
        children.start(module(tmp_path, monkeypatch, body), warmup=1)
        assert len(children.alive["x"].ask(count=3, seconds=1)["samples_ns"]) == 3


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a killed bench would leave a stopped process behind"
)
def test_a_child_that_waits_uses_no_processor(assets: Path) -> None:
    """ONNX Runtime's second thread spins for some 80 ms after a call, and what was timed beside it took twice as long:
    7.4 ms where the application's loop takes 3."""

    def state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def ticks(pid: int) -> int:
        """Used so far, a whole number: a tick may end between the answer and the stop."""
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    two = tiny(assets)
    two.spec["threads"] = 2
    with Children() as children:
        children.start(two, warmup=1)
        child = children.alive["tiny"]
        for _ in range(2):
            assert len(child.ask(count=5, seconds=1)["samples_ns"]) == 5
            before = ticks(child.pid)
            time.sleep(0.3)
            assert state(child.pid) == "T"
            assert ticks(child.pid) - before <= 1
        assert child.ask(fps=200, seconds=0.05)["start_ns"], "it goes on when it is asked again"
        pid = child.pid
    assert gone(pid), "and ends in peace"


@pytest.mark.skipif(sys.platform != "linux", reason="not stopped elsewhere")
def test_a_stopped_child_ends_when_whoever_asked_is_killed() -> None:
    code = (
        "from edge_tl.device.bench.workers import Child, Contestant\n"
        f"child = Child({null()!r}, warmup=1, describe=False)\n"
        "child.answer()\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        parent.send_signal(signal.SIGKILL)
    assert gone(pid) or _is_zombie(pid)


def test_every_child_ends_when_one_fails(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    broken = Contestant("broken", CHILD, tiny(assets).spec | {"path": str(tmp_path / "broken.onnx")})
    pids = []
    with pytest.raises(EdgeTLError, match="broken could not run"), Children() as children:  # noqa: PT012
        children.start(tiny(assets), warmup=1)
        pids.append(children.alive["tiny"].pid)
        children.start(broken, warmup=1)
    assert gone(pids[0])


def test_every_child_ends_on_an_interrupt(assets: Path) -> None:
    pids = []
    with pytest.raises(KeyboardInterrupt), Children() as children:  # noqa: PT012
        children.start(tiny(assets), warmup=1)
        pids.append(children.alive["tiny"].pid)
        raise KeyboardInterrupt
    assert gone(pids[0])


def test_a_child_that_dies_between_blocks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import sys\nprint('{\"load_ns\": 1}', flush=True)\nsys.stdin.readline()\nsys.exit('out of something')"
    child = Child(module(tmp_path, monkeypatch, body), warmup=0, describe=False)
    try:
        assert child.answer() == {"load_ns": 1}
        with pytest.raises(EdgeTLError, match="x could not run: out of something"):
            child.ask(count=1, seconds=1)
    finally:
        child.kill()


SLOW_TO_OPEN = (
    "import time\nfrom edge_tl.device.bench import worker\n"
    "worker.serve(lambda: time.sleep(600), {'shape': [1, 3, 8, 8]})"
)


@pytest.mark.parametrize("busy_with", ["a run at a pace", "a run back to back", "loading"])
def test_a_busy_child_ends_when_whoever_asked_is_killed(
    busy_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent has no chance to say anything, and the child has ten minutes of work before it."""
    contestant = null()
    if busy_with == "loading":
        contestant = module(tmp_path, monkeypatch, SLOW_TO_OPEN)
    fps = 20 if busy_with == "a run at a pace" else None
    code = (
        "from edge_tl.device.bench.workers import Child, Contestant\n"
        f"child = Child({contestant!r}, warmup=1, describe=False)\n"
        "print(child.pid, flush=True)\n"
        "child.answer()\n"
        "print('asks', flush=True)\n"
        f"child.ask(fps={fps}, seconds=600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if busy_with != "loading":
            assert parent.stdout.readline() == "asks\n"
        time.sleep(0.5)  # it is in the middle of it
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    assert gone(pid) or _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """An orphan that nobody reaps; what counts is that it is not running any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_child_with_nothing_to_do_ends_cleanly() -> None:
    """As any program does, with its exit handlers: nothing on stderr and no error code."""
    spec = null().spec | {"warmup": 1, "describe": False}
    command = [sys.executable, "-m", CHILD, json.dumps(spec)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert "load_ns" in json.loads(process.stdout.readline())
        process.stdin.write('{"count": 3, "seconds": 1}\n{"count": 2, "seconds": 1}\n')
        process.stdin.flush()
        counts = [len(json.loads(process.stdout.readline())["samples_ns"]) for _ in range(2)]
        _, said = process.communicate()
    assert (counts, process.returncode, said) == ([3, 2], 0, "")


def test_a_child_that_fails_while_it_is_asked_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that waits for standard input adds nothing to the last words."""
    body = (
        "from edge_tl.device.bench import worker\n"
        "def open_it(): raise RuntimeError('no such thing')\n"
        "worker.serve(open_it, {'shape': [1, 3, 8, 8]})"
    )
    with pytest.raises(EdgeTLError, match="x could not run: RuntimeError: no such thing"), Children() as all_:
        all_.start(module(tmp_path, monkeypatch, body), warmup=1)
