"""A reader may leave: the exit code is the verb's own, and Python prints no error of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}
GOOD, BAD = ["recipes", "ls"], ["verify", "not-there"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")


def unread() -> int:
    """The end of a pipe that nobody reads from."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(("verb", "code"), [(GOOD, 0), (BAD, 2)])
@pytest.mark.parametrize("what", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_nobody_reads(verb: list[str], code: int, what: str, unbuffered: str) -> None:
    pipe, environment = unread(), ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
    out, err = (pipe if what in (name, "both") else subprocess.PIPE for name in ("stdout", "stderr"))
    done = subprocess.run(
        [sys.executable, "-m", "edge_tl", *verb], env=environment, text=True, stdout=out, stderr=err
    )
    os.close(pipe)
    assert done.returncode == code, done.stderr
    for said in (done.stdout, done.stderr):
        assert "Traceback" not in (said or "")
        assert "Exception" not in (said or "")


@pytest.mark.parametrize(("verb", "code"), [(GOOD, 0), (BAD, 2)])
@pytest.mark.parametrize("numbers", [(1,), (2,), (0, 1, 2)])
def test_closed_descriptors(verb: list[str], code: int, numbers: tuple[int, ...], tmp_path: Path) -> None:
    """Nor does a file that is opened later get their numbers."""

    def close() -> None:
        for number in numbers:
            os.close(number)

    done = subprocess.run(
        [sys.executable, "-m", "edge_tl", *verb],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
        preexec_fn=close,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_tl", *GOOD],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
