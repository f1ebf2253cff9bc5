"""Waiting for a quiet machine, on a clock of the test's own; and once beside a real busy process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from listening import Listening

from edge_tl.device.bench import quiet
from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.bench.machine_use import CpuUsage
from edge_tl.device.bench.quiet import Probe, cpu_of_programs, wait_for_quiet, when_quiet
from edge_tl.device.bench.schedule import Clock
from edge_tl.device.machine import identity
from edge_tl.device.records.bench import BenchResult, MethodRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, WaitRecord

CORES = 2


class Said(Listening):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[str, int, int]] = []
        super().__init__(progress=lambda *step: self.steps.append(step), note=self.notes.append)


class Machine:
    """Others use `others(second)` cores; time passes only where somebody sleeps."""

    def __init__(self, others: Callable[[float], float]) -> None:
        self.others, self.seconds, self.used = others, 0.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.used += seconds * self.others(self.seconds)
        self.seconds += seconds

    def probe(self) -> Probe:
        return Probe(
            usage=lambda: CpuUsage(self.used, 0.0, 0.0, self.seconds, CORES),
            programs=lambda: {"make": self.used, "idle": 0.0, "e\x1b[2Jvil": self.used / 2},
            clock=Clock(now=lambda: int(self.seconds * 1e9), sleep=self.sleep),
        )


def test_a_quiet_machine_is_not_waited_for() -> None:
    said = Said()
    record = wait_for_quiet(300.0, listener=said, probe=Machine(lambda _: 0.1).probe())
    assert (record.asked_s, record.waited_s, record.quiet) == (300.0, 3.0, True)
    assert not said.notes
    assert not said.steps


def test_it_goes_on_when_the_others_end() -> None:
    said = Said()
    record = wait_for_quiet(300.0, listener=said, probe=Machine(lambda t: 2.0 if t < 20 else 0.0).probe())
    assert record.quiet
    assert record.waited_s == pytest.approx(23.0, abs=1.0)
    used, _, waiting = said.notes[0].partition("; ")
    assert used == "other programs used 2.0 of 2 cores (make 2.0, e\\x1b[2Jvil 1.0)"
    assert waiting.startswith("waiting up to 0:05:00")
    assert "Ctrl-C" in said.notes[0]
    assert said.notes[1].startswith("quiet after 0:00:2")
    assert said.steps[0][1:] == (3, 300)


def test_it_goes_on_when_the_time_is_over_and_says_so() -> None:
    said = Said()
    record = wait_for_quiet(10.0, listener=said, probe=Machine(lambda _: 1.9).probe())
    assert (record.quiet, record.waited_s) == (False, 10.0)
    assert said.notes[-1].startswith("still busy after 0:00:10: other programs used 1.9 of 2 cores; going on")
    assert "no speed will be judged" in said.notes[-1]
    assert wait_for_quiet(1.0, probe=Machine(lambda _: 0.0).probe()).quiet, "a shorter wait may be enough"


def test_one_busy_core_of_eight_is_not_waited_for() -> None:
    machine = Machine(lambda _: 1.0)
    probe = machine.probe()
    many = Probe(lambda: CpuUsage(machine.used, 0.0, 0.0, machine.seconds, 8), probe.programs, probe.clock)
    assert wait_for_quiet(60.0, probe=many).quiet


def test_where_the_system_does_not_tell_it_says_so() -> None:
    said = Said()
    clock = Machine(lambda _: 0.0).probe().clock
    record = wait_for_quiet(60.0, listener=said, probe=Probe(lambda: None, dict, clock))
    assert record.quiet is None
    assert "does not tell" in said.notes[0]


def test_an_interrupt_ends_the_waiting() -> None:
    def interrupted(_: float) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_for_quiet(60.0, probe=Machine(interrupted).probe())


def test_the_wait_is_among_the_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = ConditionsRecord(LoadRecord(), LoadRecord())
    measured = BenchResult(
        kind="latency",
        date="",
        machine=identity(),
        conditions=conditions,
        method=MethodRecord(),
        artifacts=(),
    )
    assert when_quiet(0.0, lambda: measured) is measured
    monkeypatch.setattr(quiet, "wait_for_quiet", lambda seconds, **_: WaitRecord(seconds, 2.0, True))
    found = when_quiet(9.0, lambda: measured)
    assert found.to_json()["conditions"]["wait"] == {"asked_s": 9.0, "waited_s": 2.0, "quiet": True}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux counts")
def test_a_real_program_is_named() -> None:
    with CpuLoad(1) as load:
        name = Path(f"/proc/{load.processes[0].pid}/comm").read_text().strip()
        before = cpu_of_programs()
        deadline = time.monotonic() + 60
        while cpu_of_programs()[name] < before[name] + 0.05 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cpu_of_programs()[name] >= before[name] + 0.05
    assert cpu_of_programs(Path("/absent")) == {}
