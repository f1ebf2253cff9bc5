"""Wait until this machine is quiet, before something is timed. Times nothing itself.

A speed that was timed beside other programs is not judged (`machine_use`); whoever can wait need not measure twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_tl.device.bench.machine_use import CpuUsage, cpu_usage, is_busy, taken
from edge_tl.device.bench.schedule import CLOCK, Clock
from edge_tl.device.format import clock as as_clock
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import ROOT
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.timing import WaitRecord
from edge_tl.device.text import printable

WINDOW = 3  # looks, a second apart: so long others must take little
NAMED = 3  # programs in a sentence
STEP = "waiting for a quiet machine"


def cpu_of_programs(root: Path = ROOT) -> dict[str, float]:
    """CPU seconds so far by the name of the program, of all processes that can be seen but this one's own; empty where
    the system does not tell."""
    found: dict[str, float] = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # ended meanwhile
            if int(path.parent.name) == os.getpid():
                continue
            head, _, tail = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            user, system = tail.split()[11:13]
            name = head.partition("(")[2]
            spent = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
            found[name] = found.get(name, 0.0) + spent
    return found


@dataclass(frozen=True)
class Probe:
    """What tells how busy the machine is, and the time; a test's own needs neither."""

    usage: Callable[[], CpuUsage | None] = cpu_usage
    programs: Callable[[], dict[str, float]] = cpu_of_programs
    clock: Clock = CLOCK


def when_quiet(
    wait_s: float, measure: Callable[[], BenchResult], *, listener: Listener = SILENT
) -> BenchResult:
    """What `measure` returns, called once the machine is quiet or `wait_s` seconds are over; its conditions say how
    long that took. With `wait_s` 0 at once."""
    waited = wait_for_quiet(wait_s, listener=listener) if wait_s else None
    result = measure()
    if waited is None or result.conditions is None:
        return result
    return replace(result, conditions=replace(result.conditions, wait=waited))


def wait_for_quiet(seconds: float, *, listener: Listener = SILENT, probe: Probe | None = None) -> WaitRecord:
    """Return when other programs have taken little for three seconds, or after `seconds`.

    Where the system does not tell what they take (not Linux) it does not wait, and says so.
    """
    probe = probe or Probe()
    begin = probe.clock.now()
    looks = [(probe.usage(), probe.programs())]
    told = False
    while True:
        probe.clock.sleep(1.0)
        looks = [*looks[-WINDOW:], (probe.usage(), probe.programs())]
        waited = (probe.clock.now() - begin) / 1e9
        first, now = looks[0][0], looks[-1][0]
        if first is None or now is None:
            listener.note("--wait-quiet: this system does not tell what other programs use; not waiting")
            return WaitRecord(seconds, waited, None)
        during = first.until(now)
        quiet = not is_busy(during) and (len(looks) > WINDOW or waited >= seconds)
        if quiet or waited >= seconds:
            break
        if not told and len(looks) > WINDOW:
            told = True
            listener.note(
                f"{taken(during)}{_by_whom(looks[0][1], looks[-1][1], now.wall - first.wall)}; waiting up to "
                f"{as_clock(seconds)} for a quiet machine, Ctrl-C ends it"
            )
        if told:
            listener.progress(STEP, int(waited), int(seconds))
    if told:
        listener.progress(STEP, int(seconds) or 1, int(seconds) or 1)
        listener.note(
            f"quiet after {as_clock(waited)}"
            if quiet
            else f"still busy after {as_clock(waited)}: {taken(during)}; going on, no speed will be judged"
        )
    return WaitRecord(seconds, waited, quiet)


def _by_whom(before: dict[str, float], after: dict[str, float], wall: float) -> str:
    """ " (python 1.9, gcc 0.3)": who used most in `wall` seconds, in cores; nothing where nobody can be seen."""
    used = {name: (spent - before.get(name, 0.0)) / wall for name, spent in after.items()}
    most = sorted(used, key=lambda name: -used[name])[:NAMED]
    words = [f"{printable(name)} {used[name]:.1f}" for name in most if used[name] >= 0.05]
    return f" ({', '.join(words)})" if words else ""
