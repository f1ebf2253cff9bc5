"""Busy processes that end with the measurement, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from edge_tl.device.bench.cpu_load import CpuLoad


def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_they_run_and_end() -> None:
    with CpuLoad(2) as load:
        pids = [process.pid for process in load.processes]
        assert len(set(pids)) == 2
        assert all(process.poll() is None for process in load.processes)
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_they_end_with_an_error(error: type[BaseException]) -> None:
    pids = []
    with pytest.raises(error), CpuLoad(1) as load:  # noqa: PT012
        pids.append(load.processes[0].pid)
        raise error
    assert gone(pids[0])


def test_none() -> None:
    with CpuLoad(0) as load:
        assert load.processes == []


def test_they_end_when_whoever_started_them_is_killed() -> None:
    code = (
        "from edge_tl.device.bench.cpu_load import CpuLoad\nimport time\n"
        "with CpuLoad(2) as n:\n"
        "    print(*[p.pid for p in n.processes], flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    # An orphan that nobody reaps is a zombie; what counts is that it is not running any more.
    for pid in pids:
        assert gone(pid) or _state(pid) == "Z"


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
