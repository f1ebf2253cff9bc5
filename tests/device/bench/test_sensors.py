"""What a machine shows of its clock and heat, from planted /sys trees; what it does not show is None."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_tl.device.bench.sensors import SensorLog, read_sensors, sensor_summary
from edge_tl.device.records.paced import SensorReading


@pytest.fixture(autouse=True)
def _no_pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def shown(root: Path) -> set[object]:
    """The values of a reading, without its time."""
    return {value for key, value in read_sensors(root).to_json().items() if key != "t"}


def vcgencmd(tmp_path: Path, says: str) -> None:
    path = tmp_path / "bin" / "vcgencmd"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)


def test_a_machine_that_shows_everything(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1000000\n",
            "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
            "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "class/thermal/thermal_zone0/temp": "55123\n",
            "class/thermal/thermal_zone1/temp": "71500\n",
            "class/thermal/thermal_zone2/temp": "-40000\n",
            "class/powercap/intel-rapl:0/energy_uj": "123456\n",
            "class/powercap/intel-rapl:0:0/energy_uj": "99\n",
        },
    )
    vcgencmd(tmp_path, "echo throttled=0x50005")
    assert read_sensors(root).to_json() == {
        "t": 0.0,
        "clock_mhz": 1250.0,
        "clock_min_mhz": 1000.0,
        "temperature_c": 71.5,
        "throttled": ["under-voltage", "throttled"],
        "throttle_count": 7,
        "energy_uj": 123456,
    }


@pytest.mark.parametrize("says", ["echo nonsense", "exit 1", "echo throttled=zz"])
def test_a_machine_that_shows_nothing(tmp_path: Path, says: str) -> None:
    assert shown(tmp_path) == {None}
    vcgencmd(tmp_path, says)
    assert shown(tmp_path) == {None}


def test_what_cannot_be_read_does_not_count(tmp_path: Path) -> None:
    root = plant(
        tmp_path, {"class/powercap/intel-rapl:0/energy_uj": "5", "class/thermal/thermal_zone0/temp": "hot"}
    )
    (root / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)
    if os.geteuid() == 0:
        (root / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert shown(root) == {None}


def test_a_log_reads_until_the_end(tmp_path: Path) -> None:
    root = plant(tmp_path, {"class/thermal/thermal_zone0/temp": "50000"})
    ticks: list[float] = []
    enough = threading.Event()

    def tick(elapsed: float) -> None:
        ticks.append(elapsed)
        if len(ticks) == 3:
            enough.set()

    with SensorLog(root, period=0.01, tick=tick) as log:
        assert enough.wait(60)
    taken = len(log.readings)
    assert taken >= 3
    assert [reading.t for reading in log.readings] == sorted(reading.t for reading in log.readings)
    assert log.readings[0].temperature_c == 50
    assert len(log.readings) == taken, "it has stopped"


def reading(t: float, **shown: object) -> SensorReading:
    nothing = dict.fromkeys(
        ("clock_mhz", "clock_min_mhz", "temperature_c", "throttled", "throttle_count", "energy_uj")
    )
    return SensorReading.from_json({"t": t, **nothing, **shown})


def test_a_summary() -> None:
    found = sensor_summary(
        [
            reading(0, clock_mhz=2000, temperature_c=40, throttled=[], throttle_count=1, energy_uj=1_000_000),
            reading(
                1,
                clock_mhz=1500,
                temperature_c=80,
                throttled=["throttled"],
                throttle_count=4,
                energy_uj=6_000_000,
            ),
            reading(2, clock_mhz=1800, temperature_c=70, throttled=[], throttle_count=4, energy_uj=50),
            reading(3, clock_mhz=1700, temperature_c=75, throttled=[], throttle_count=4, energy_uj=3_000_050),
        ]
    ).to_json()
    assert found["clock_mhz"] == {"first": 2000, "min": 1500, "max": 2000, "last": 1700}
    assert found["temperature_c"]["max"] == 80
    assert found["throttled"] == ["throttled"]
    assert found["throttle_events"] == 3
    assert found["power_w"] == pytest.approx(4.0), (
        "5 J and 3 J in two seconds; where the counter wrapped is left out"
    )
    assert set(sensor_summary([reading(0), reading(1)]).to_json().values()) == {None}
    assert set(sensor_summary([]).to_json().values()) == {None}
