"""Clock, temperature, throttling and energy while something runs, once a second, where the system shows them.

What it does not show is None, never a guess. `root` is the folder that holds `sys`. It must not time anything.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from edge_tl.device.machine import ROOT

SYSTEM = "sys/devices/system/cpu"
# `vcgencmd get_throttled` of the Raspberry Pi: the bits that say what holds now (raspberrypi.com documentation).
THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def read_sensors(root: Path = ROOT) -> dict[str, Any]:
    """One reading: `clock_mhz` (mean over cores) and `clock_min_mhz`, `temperature_c` (hottest zone), `throttled`
    (reasons that hold now), `throttle_count` (events since boot, Intel), `energy_uj` (RAPL packages, which wrap)."""
    clocks = _numbers(root, f"{SYSTEM}/cpu[0-9]*/cpufreq/scaling_cur_freq")
    zones = [value for value in _numbers(root, "sys/class/thermal/thermal_zone*/temp") if value > 0]
    counts = _numbers(root, f"{SYSTEM}/cpu[0-9]*/thermal_throttle/core_throttle_count")
    energy = _numbers(root, "sys/class/powercap/intel-rapl:[0-9]/energy_uj")
    return {
        "clock_mhz": sum(clocks) / len(clocks) / 1e3 if clocks else None,
        "clock_min_mhz": min(clocks) / 1e3 if clocks else None,
        "temperature_c": max(zones) / 1e3 if zones else None,
        "throttled": _raspberry(),
        "throttle_count": sum(counts) if counts else None,
        "energy_uj": sum(energy) if energy else None,
    }


class SensorLog:
    """Takes a reading every `period` seconds, as a context manager; `readings` holds them with `t`, seconds from the
    start. `tick` is called after each."""

    def __init__(
        self, root: Path = ROOT, *, period: float = 1.0, tick: Callable[[float], object] | None = None
    ) -> None:
        self.readings: list[dict[str, Any]] = []
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
            self.readings.append({"t": round(elapsed, 3), **read_sensors(self._root)})
            if self._tick:
                self._tick(elapsed)
            number += 1
            if self._over.wait(max(0.0, number * self._period - (monotonic() - begin))):
                return


def sensor_summary(readings: list[dict[str, Any]]) -> dict[str, Any]:
    """`{clock_mhz, temperature_c}` as `{first, min, max, last}`, `throttled` (every reason seen), `throttle_events`,
    `power_w` (mean over the readings between which the counter did not wrap); None where nothing was shown."""

    def span(key: str) -> dict[str, float] | None:
        seen = [r[key] for r in readings if r[key] is not None]
        return {"first": seen[0], "min": min(seen), "max": max(seen), "last": seen[-1]} if seen else None

    reasons = [r["throttled"] for r in readings if r["throttled"] is not None]
    counts = [r["throttle_count"] for r in readings if r["throttle_count"] is not None]
    energy = [(r["t"], r["energy_uj"]) for r in readings if r["energy_uj"] is not None]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(energy) if b[1] >= a[1]]
    seconds = sum(step for step, _ in steps)
    return {
        "clock_mhz": span("clock_mhz"),
        "temperature_c": span("temperature_c"),
        "throttled": sorted({reason for found in reasons for reason in found}) if reasons else None,
        "throttle_events": counts[-1] - counts[0] if counts else None,
        "power_w": sum(used for _, used in steps) / seconds / 1e6 if seconds else None,
    }


def _raspberry() -> list[str] | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, timeout=2, check=True
        )
        bits = int(done.stdout.strip().partition("=")[2], 16)
        return [name for bit, name in THROTTLED.items() if bits >> bit & 1]
    return None


def _numbers(root: Path, pattern: str) -> list[int]:
    """The whole numbers in the files that match; a file that cannot be read (RAPL without rights) does not count."""
    found = []
    for path in sorted(root.glob(pattern)):
        with suppress(OSError, ValueError):
            found.append(int(path.read_text().strip()))
    return found
