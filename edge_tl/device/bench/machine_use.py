"""How much of this machine others used while something was timed, and which speeds then say nothing of it.

Times nothing itself. docs/explanation/latency.md has the thresholds and what they rest on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.machine import ROOT
from edge_tl.device.records.bench import SpeedupRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, UsageRecord

WIDEST = 2.0  # an interval whose upper end is more than so many times the lower says nothing useful
MOST = 0.2  # of the cores allowed: beyond that a speed is not this machine's
UNSTEADY = (
    1.5  # the same of what was timed against itself: what differs by a half from itself differs by anything
)
# Runnable tasks, of the cores allowed, where the system tells nothing better: what is timed itself keeps them at 1.
RUNNABLE = 1.5


@dataclass(frozen=True)
class CpuUsage:
    """CPU seconds since some moment on the cores this process may use: of everybody, of this process and its ended
    child processes, and those that a hypervisor gave away. `wall` is seconds."""

    everybody: float
    own: float
    stolen: float
    wall: float
    cores: int

    def until(self, later: CpuUsage) -> UsageRecord:
        """The cores that others used and that were stolen, on average, of those allowed."""
        seconds = max(later.wall - self.wall, 1e-9)
        others = later.everybody - self.everybody - (later.own - self.own)
        stolen = later.stolen - self.stolen
        return UsageRecord(max(0.0, others / seconds), max(0.0, stolen / seconds), float(self.cores))


def cpu_usage(root: Path = ROOT) -> CpuUsage | None:
    """As of now; None where the system does not tell (not Linux)."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        import resource

        lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
        tick = os.sysconf("SC_CLK_TCK")
        busy = stolen = cores = 0
        for line in lines:
            name, *words = line.split()
            if not name.startswith("cpu") or not name[3:].isdecimal():
                continue
            if allowed is not None and int(name[3:]) not in allowed:
                continue
            user, nice, system, _, _, irq, soft, steal = (int(word) for word in words[:8])
            busy += user + nice + system + irq + soft
            stolen += steal
            cores += 1
    except (OSError, ValueError, ImportError):  # Windows has no `resource`
        return None
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(used.ru_utime + used.ru_stime for used in own)
    return CpuUsage(busy / tick, spent, stolen / tick, time.monotonic(), cores)


def is_busy(during: UsageRecord) -> bool:
    """Whether others took so much that a speed is not this machine's: a fifth of the cores allowed, all added up. So
    one busy core of eight is none, and one of two is."""
    return during.others + during.stolen > MOST * during.cores


def taken(during: UsageRecord) -> str:
    """What others took, for a person."""
    text = f"other programs used {during.others:.1f} of {during.cores:.0f} cores"
    return text + (
        f", the hypervisor kept {during.stolen:.1f}" if during.stolen > 0.05 * during.cores else ""
    )


def busy_reason(
    conditions: ConditionsRecord | None, cores: int | None = None, *, subject: str = "this machine is"
) -> str | None:
    """Why no speed that was timed under these `conditions` says anything of this machine, for a person; None where
    nothing speaks against them, or nothing is known. `cores` are those allowed, where `during` does not tell."""
    if conditions is None:
        return None
    during, ends = conditions.during, conditions.against_itself_ci
    if during is not None and is_busy(during):
        return f"{subject} busy ({taken(during)})"
    if during is None and cores and _overloaded(conditions.after, cores):
        return f"{subject} busy (load {conditions.after.load1:.1f} on {cores} cores)"
    if ends and ends[1] > UNSTEADY * ends[0]:
        shown = f"[{ends[0]:,.2f}, {ends[1]:,.2f}]"
        return (
            f"{subject} busy or unsteady (timed against itself, an artifact ran at {shown} times its speed)"
        )
    return None


def _overloaded(load: LoadRecord, cores: int) -> bool:
    return load.load1 is not None and load.load1 > RUNNABLE * cores


def why_not_judged(interval: Sequence[float] | None, conditions: ConditionsRecord | None) -> str | None:
    """Why a speed with this 95 % `interval`, a ratio, says nothing about this machine; None where it does."""
    if busy := busy_reason(conditions):
        return busy
    if interval and interval[1] > WIDEST * interval[0]:
        return f"its interval is [{interval[0]:,.1f}, {interval[1]:,.1f}], this machine is busy or unsteady"
    return None


def as_proven(found: SpeedupRecord, busy: str | None) -> SpeedupRecord:
    """`found`, or without any figure why it is none: `busy`, or an interval that is too wide or not known."""
    if found.speedup is None:
        return found
    why = busy or why_not_judged(found.speedup_ci, None)
    if found.speedup_ci is None:
        why = why or "fewer than three rounds give it no interval"
    return SpeedupRecord(not_judged=why) if why else found
