"""How much of this machine others used while something was timed. Times nothing itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.machine import ROOT
from edge_tl.device.records.timing import ConditionsRecord, UsageRecord

WIDEST = 2.0  # an interval whose upper end is more than so many times the lower says nothing useful
MOST = 0.2  # of the cores allowed: beyond that a speed is not this machine's


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


def busy_reason(conditions: ConditionsRecord | None) -> str | None:
    """What others took while the result with these `conditions` was timed, for a person; None where that was little or
    is not known."""
    during = conditions.during if conditions else None
    if during is None or not during.cores or during.others + during.stolen <= MOST * during.cores:
        return None
    text = f"other programs used {during.others:.1f} of {during.cores:.0f} cores"
    return text + (
        f", the hypervisor kept {during.stolen:.1f}" if during.stolen > 0.05 * during.cores else ""
    )


def unreliable(interval: Sequence[float] | None, conditions: ConditionsRecord | None) -> str | None:
    """Why a speed with this 95 % `interval`, a ratio, says nothing about this machine; None where it does."""
    if taken := busy_reason(conditions):
        return f"this machine is busy ({taken})"
    if interval and interval[1] > WIDEST * interval[0]:
        return f"its interval is [{interval[0]:,.1f}, {interval[1]:,.1f}], this machine is busy or unsteady"
    return None
