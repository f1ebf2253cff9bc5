"""Every interrupt ends a verb alike: cleaning up is not disturbed, and the exit code is 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}
# A verb at work in a staging folder; cleaning up takes a moment, in which more interrupts come.
WORK = """
import shutil, sys, time
from pathlib import Path
from edge_tl import cli, __main__
@cli.app.command()
def work(folder: str) -> int:
    staging = Path(folder) / ".partial-x"
    staging.mkdir()
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        for _ in range(20):
            time.sleep(0.05)
        shutil.rmtree(staging)
    return 0
sys.argv[1:] = ["work", sys.argv[1]]
__main__.main()
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT, signal.SIGINT, signal.SIGINT],
        [signal.SIGHUP, signal.SIGTERM],
    ],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_it_cleans_up_and_exits_130(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(numbers[0])
        assert process.stdout.readline() == "cleaning\n"
        for number in numbers[1:]:
            process.send_signal(number)
        err = process.stderr.read()
    assert process.returncode == 130, err
    assert list(tmp_path.iterdir()) == []
    assert err.splitlines()[-1].startswith("interrupted. ")
    assert "Traceback" not in err


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT, preexec_fn=nohup,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130


# A call that never comes back to Python, as a model's endless loop in a runtime.
LOST = """
import ctypes, sys
from edge_tl import cli, __main__
from edge_tl.cli import _interrupts
_interrupts.CLEANUP_S = 0.5
@cli.app.command()
def work() -> int:
    print("at work", flush=True)
    lock = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).pthread_mutex_lock(lock)
    ctypes.CDLL(None).pthread_mutex_lock(lock)
    return 0
sys.argv[1:] = ["work"]
__main__.main()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a mutex of zeros is glibc's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_call_that_never_returns_is_interrupted_all_the_same(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        time.sleep(1)  # it is in the call by now
        process.send_signal(number)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err == "interrupted in a call that does not return.\n"


def test_a_forked_childs_signal_does_not_end_its_parent() -> None:
    code = """
import os, signal, time
from edge_tl.cli import _interrupts
_interrupts.CLEANUP_S = 0.2
with _interrupts.handled():
    if not (child := os.fork()):
        time.sleep(30)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    time.sleep(1)
print("whole")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["whole"])
