"""One way to end for every interrupt: what cleans up is not disturbed, and the code is 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
