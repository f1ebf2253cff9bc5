"""Clock, temperature, throttling and energy while something runs, once a second, where the system shows them.

What is not shown is None, never a guess. `root` is the folder that holds `sys`. Times nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import TracebackType

from edge_tl.device.machine import ROOT
from edge_tl.device.records.paced import SensorReading, SensorSummary, SpanRecord

SYSTEM = "sys/devices/system/cpu"
# `vcgencmd get_throttled` of the Raspberry Pi: the bits that say what holds now (raspberrypi.com documentation).
THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def read_sensors(root: Path = ROOT, t: float = 0.0) -> SensorReading:
    """One reading, `t` seconds from the start: the clocks' mean and least, the hottest zone, the reasons for which the
    CPU is throttled now, throttle events since boot (Intel), the energy counters (RAPL packages)."""
    clocks = _numbers(root, f"{SYSTEM}/cpu[0-9]*/cpufreq/scaling_cur_freq")
    zones = [value for value in _numbers(root, "sys/class/thermal/thermal_zone*/temp") if value > 0]
    counts = _numbers(root, f"{SYSTEM}/cpu[0-9]*/thermal_throttle/core_throttle_count")
    energy = _numbers(root, "sys/class/powercap/intel-rapl:[0-9]/energy_uj")
    return SensorReading(
        t=t,
        clock_mhz=sum(clocks) / len(clocks) / 1e3 if clocks else None,
        clock_min_mhz=min(clocks) / 1e3 if clocks else None,
        temperature_c=max(zones) / 1e3 if zones else None,
        throttled=_raspberry(),
        throttle_count=sum(counts) if counts else None,
        energy_uj=sum(energy) if energy else None,
    )


class SensorLog:
    """Takes a reading every `period` seconds, as a context manager; `readings` holds them. `tick` is called with the
    seconds from the start after each."""

    def __init__(
        self, root: Path = ROOT, *, period: float = 1.0, tick: Callable[[float], object] | None = None
    ) -> None:
        self.readings: list[SensorReading] = []
        self._root, self._period, self._tick = root, period, tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SensorLog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        begin = monotonic()
        number = 0
        while True:
            elapsed = monotonic() - begin
            self.readings.append(read_sensors(self._root, round(elapsed, 3)))
            if self._tick:
                self._tick(elapsed)
            number += 1
            if self._over.wait(max(0.0, number * self._period - (monotonic() - begin))):
                return


def sensor_summary(readings: Sequence[SensorReading]) -> SensorSummary:
    """What the sensors showed: every reason for which the CPU was throttled, the throttle events meanwhile, the mean
    power over the readings between which the counter did not wrap."""
    reasons = [r.throttled for r in readings if r.throttled is not None]
    counts = [r.throttle_count for r in readings if r.throttle_count is not None]
    energy = [(r.t, r.energy_uj) for r in readings if r.energy_uj is not None]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(energy) if b[1] >= a[1]]
    seconds = sum(step for step, _ in steps)
    return SensorSummary(
        clock_mhz=_span([r.clock_mhz for r in readings]),
        temperature_c=_span([r.temperature_c for r in readings]),
        throttled=tuple(sorted({reason for found in reasons for reason in found})) if reasons else None,
        throttle_events=counts[-1] - counts[0] if counts else None,
        power_w=sum(used for _, used in steps) / seconds / 1e6 if seconds else None,
    )


def _span(values: Sequence[float | None]) -> SpanRecord | None:
    seen = [value for value in values if value is not None]
    return SpanRecord(first=seen[0], min=min(seen), max=max(seen), last=seen[-1]) if seen else None


def _raspberry() -> tuple[str, ...] | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, timeout=2, check=True
        )
        bits = int(done.stdout.strip().partition("=")[2], 16)
        return tuple(name for bit, name in THROTTLED.items() if bits >> bit & 1)
    return None


def _numbers(root: Path, pattern: str) -> list[int]:
    """The whole numbers in the files that match; a file that cannot be read (RAPL without rights) does not count."""
    found = []
    for path in sorted(root.glob(pattern)):
        with suppress(OSError, ValueError):
            found.append(int(path.read_text().strip()))
    return found
