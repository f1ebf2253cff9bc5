"""A first interrupt waits for the end of a step, a second one does not, and handlers are left as they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from edge_tl.host.training import stopping

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        signal.signal(number, interrupt)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_waits_and_the_second_does_not(name: str):
    number = getattr(signal, name)
    with stopping.deferred() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is interrupt


def test_what_is_ignored_stays_ignored():
    """nohup leaves SIGHUP ignored, so that a closed terminal ends nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping.deferred() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("wanted", [True, False])
def test_elsewhere_nothing_changes(wanted: bool):
    seen = []

    def work() -> None:
        with stopping.deferred(wanted):
            seen.append(signal.getsignal(signal.SIGINT))

    if wanted:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    assert seen == [interrupt]


def test_a_step_that_takes_long_is_not_taken_for_a_call_that_never_returns():
    """The verb ends what stays unheard; an interrupt that waits for the end of a step was heard."""
    code = """
import os, signal, time
from edge_tl.cli import _interrupts
from edge_tl.host.training import stopping
_interrupts.CLEANUP_S = 0.2
try:
    with _interrupts.handled(), stopping.deferred() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        print("the step ended", flush=True)
        stop.check()
except KeyboardInterrupt:
    print("and its state was kept")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the step ended", "and its state was kept"]
