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

from edge_tl.device.bench.workers import WORKER, Worker, WorkerPool, Workload, kill, launch
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


def tiny(assets: Path) -> Workload:
    spec = {"path": str(assets / "tiny.onnx"), "device": "CPU", "shape": [1, 3, 16, 16], "threads": 1}
    return Workload("tiny", WORKER, spec)


def null() -> Workload:
    return Workload("null", WORKER, {"path": None, "shape": [1, 3, 8, 8]})


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Workload:
    (tmp_path / "some_worker.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return Workload("x", "some_worker", {"shape": [1, 3, 8, 8]})


def test_a_child_is_warm_then_answers_as_often_as_it_is_asked(assets: Path) -> None:
    with WorkerPool() as pool:
        ready = pool.start(tiny(assets), warmup=4, describe=True)
        assert ready.ran is not None
        assert ready.ran.threads == 1
        assert ready.warmup_calls >= 4
        assert min(ready.load_ns, ready.first_ns, ready.call_ns) > 0
        worker = pool.alive["tiny"]
        for count in (3, 7):
            assert len(worker.ask(count=count, seconds=60)["samples_ns"]) == count
        run = worker.ask(fps=200, seconds=0.05)
        assert run["intended_ns"] == [5_000_000 * i for i in range(10)]
        pid = worker.pid
    assert gone(pid)


def test_the_null_runtime_is_a_workload_too() -> None:
    with WorkerPool() as pool:
        assert pool.start(null(), warmup=1).ran is None
        assert len(pool.alive["null"].ask(count=5, seconds=1)["samples_ns"]) == 5


def test_processes_that_wait_have_imported_and_load_when_they_are_asked(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    broken = Workload("broken", WORKER, tiny(assets).spec | {"path": str(tmp_path / "broken.onnx")})
    gone_module = Workload("gone", "edge_tl.no_such_module", null().spec)
    counts = {each.id: (each, count) for each, count in [(tiny(assets), 2), (broken, 1), (gone_module, 1)]}
    found = launch(counts, warmup=1, describe=True)
    try:
        assert {name: len(workers) for name, workers in found.items()} == {"tiny": 2}
        with WorkerPool() as pool:
            first, second = (pool.go_on(worker) for worker in found["tiny"])
            assert first.ran is not None
            assert second.ran is None, "one description is enough"
            assert second.load_ns > 0
            assert len(found["tiny"][1].ask(count=2, seconds=60)["samples_ns"]) == 2
    finally:
        kill(found["tiny"])
    assert all(gone(worker.pid) for worker in found["tiny"])


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
    with WorkerPool() as pool:
        pool.start(module(tmp_path, monkeypatch, body), warmup=1)
        assert len(pool.alive["x"].ask(count=3, seconds=1)["samples_ns"]) == 3


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
    with WorkerPool() as pool:
        pool.start(two, warmup=1)
        worker = pool.alive["tiny"]
        for _ in range(2):
            assert len(worker.ask(count=5, seconds=1)["samples_ns"]) == 5
            before = ticks(worker.pid)
            time.sleep(0.3)
            assert state(worker.pid) == "T"
            assert ticks(worker.pid) - before <= 1
        assert worker.ask(fps=200, seconds=0.05)["start_ns"], "it goes on when it is asked again"
        pid = worker.pid
    assert gone(pid), "and ends in peace"


@pytest.mark.skipif(sys.platform != "linux", reason="not stopped elsewhere")
def test_a_stopped_child_ends_when_whoever_asked_is_killed() -> None:
    code = (
        "from edge_tl.device.bench.workers import Worker, Workload\n"
        f"worker = Worker({null()!r}, warmup=1, describe=False)\n"
        "worker.answer()\n"
        "print(worker.pid, flush=True)\n"
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
    broken = Workload("broken", WORKER, tiny(assets).spec | {"path": str(tmp_path / "broken.onnx")})
    pids = []
    with pytest.raises(EdgeTLError, match="broken could not run"), WorkerPool() as pool:  # noqa: PT012
        pool.start(tiny(assets), warmup=1)
        pids.append(pool.alive["tiny"].pid)
        pool.start(broken, warmup=1)
    assert gone(pids[0])


def test_every_child_ends_on_an_interrupt(assets: Path) -> None:
    pids = []
    with pytest.raises(KeyboardInterrupt), WorkerPool() as pool:  # noqa: PT012
        pool.start(tiny(assets), warmup=1)
        pids.append(pool.alive["tiny"].pid)
        raise KeyboardInterrupt
    assert gone(pids[0])


def test_a_child_that_dies_between_blocks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import sys\nprint('{\"load_ns\": 1}', flush=True)\nsys.stdin.readline()\nsys.exit('out of something')"
    worker = Worker(module(tmp_path, monkeypatch, body), warmup=0, describe=False)
    try:
        assert worker.answer() == {"load_ns": 1}
        with pytest.raises(EdgeTLError, match="x could not run: out of something"):
            worker.ask(count=1, seconds=1)
    finally:
        worker.kill()


SLOW_TO_OPEN = (
    "import time\nfrom edge_tl.device.bench import worker\n"
    "worker.serve(lambda: time.sleep(600), {'shape': [1, 3, 8, 8]})"
)


@pytest.mark.parametrize("busy_with", ["a run at a pace", "a run back to back", "loading"])
def test_a_busy_child_ends_when_whoever_asked_is_killed(
    busy_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent has no chance to say anything, and the worker has ten minutes of work before it."""
    workload = null()
    if busy_with == "loading":
        workload = module(tmp_path, monkeypatch, SLOW_TO_OPEN)
    fps = 20 if busy_with == "a run at a pace" else None
    code = (
        "from edge_tl.device.bench.workers import Worker, Workload\n"
        f"worker = Worker({workload!r}, warmup=1, describe=False)\n"
        "print(worker.pid, flush=True)\n"
        "worker.answer()\n"
        "print('asks', flush=True)\n"
        f"worker.ask(fps={fps}, seconds=600)\n"
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
    command = [sys.executable, "-m", WORKER, json.dumps(spec)]
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
    with (
        pytest.raises(EdgeTLError, match="x could not run: RuntimeError: no such thing"),
        WorkerPool() as all_,
    ):
        all_.start(module(tmp_path, monkeypatch, body), warmup=1)
