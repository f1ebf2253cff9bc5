"""Which results are saved, and what runs one after another: with no device: `DeviceJob.run` is replaced."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from listening import Listening

from edge_tl.device.errors import BadInput
from edge_tl.host.remote import run_all
from edge_tl.host.remote.inventory import RemoteDevice, choose
from edge_tl.host.remote.job import DeviceJob, DeviceResult, Job
from edge_tl.host.remote.wheel import Wheel

LONG = "x" * 300  # longer than a file's name may be
STORED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "records/version-1/bench.json").read_text(encoding="utf-8")
)
MACHINE = STORED["machine"] | {"cpu": "A", "arch": "x", "os": "Linux", "cores_allowed": 2}
RESULT = STORED | {"date": "2026-01-02T03:04:05+00:00", "name": "tiny", "kind": "latency", "machine": MACHINE}
JOB = Job("bench", (), Wheel("w", b"", (), {}))


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """Jobs that return `RESULT` after a moment; the most at once on each host, and which hosts had one at all."""
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    lock = threading.Lock()

    def run(one: DeviceJob) -> DeviceResult:
        host = one.device.host
        with lock:
            now[host] = now.get(host, 0) + 1
            most[host] = max(most.get(host, 0), now[host])
        time.sleep(0.05)
        with lock:
            now[host] -= 1
        one.on_step("done", "passed")
        return DeviceResult(one.name, host, "passed", exit_code=0, result=RESULT)

    monkeypatch.setattr(DeviceJob, "run", run)
    monkeypatch.chdir(tmp_path)
    return most


def go(*names: str, **options: Any) -> dict[str, Any]:
    devices = {name: RemoteDevice.model_validate({"host": name}) for name in names}
    return run_all.run_on_all(devices, JOB, ssh="true", **options).to_json()


def test_a_file_that_cannot_be_written_ends_no_other_device(at_work: dict[str, int]) -> None:
    Path("home/shed.json").mkdir(parents=True)
    reported: list[tuple[str, str]] = []
    done = go(
        "shed",
        LONG,
        "nuc",
        "loft",
        out=Path("home"),
        listener=Listening(event=lambda at: reported.append((at.name, at.step))),
    )
    assert not done["passed"]
    shed, long, *others = done["devices"]
    for entry in (shed, long):
        assert (entry["status"], entry["step"], entry["result"]) == ("error", "save", RESULT)
        assert "could not be saved" in entry["error"]
        assert reported[-1 - reported[::-1].index((entry["name"], "failed"))]
    assert "directory" in shed["error"]
    assert "too long" in long["error"]
    assert [entry["status"] for entry in others] == ["passed", "passed"]
    assert sorted(path.name for path in Path("home").iterdir()) == ["loft.json", "nuc.json", "shed.json"]
    assert json.loads(Path("home/nuc.json").read_text()) == RESULT
    assert others[0]["saved"] == [str(Path("home/nuc.json"))]


@pytest.mark.parametrize("options", [{"out": Path("file/home")}, {"save": True}])
def test_a_folder_that_cannot_be_written_to_is_known_before_anything_is_sent(
    at_work: dict[str, int], options: dict[str, Any]
) -> None:
    Path("file").write_text("")
    Path("benchmarks").write_text("")
    with pytest.raises(BadInput, match="cannot write there"):
        go("shed", **options)
    assert at_work == {}


def test_with_save_no_run_is_over_another(at_work: dict[str, int]) -> None:
    for _ in range(2):
        assert go("shed", "nuc", out=Path("home"), save=True)["passed"]
    folder = Path("benchmarks/results/a-2-cores-linux")
    first = "20260102-030405-tiny-latency"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{first}-2.json",
        f"{first}-3.json",
        f"{first}-4.json",
        f"{first}.json",
    ]
    assert sorted(path.name for path in Path("home").iterdir()) == ["nuc.json", "shed.json"]


def test_a_result_of_another_shape_is_named_and_the_others_are_saved(
    at_work: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = DeviceJob.run

    def odd(one: DeviceJob) -> DeviceResult:
        done = run(one)
        return replace(done, result={"kind": "new"}) if one.device.host == "shed" else done

    monkeypatch.setattr(DeviceJob, "run", odd)
    shed, nuc = go("shed", "nuc", save=True)["devices"]
    assert "its result could not be saved: result of edge-tl bench: kind: 'new'" in shed["error"]
    assert len(nuc["saved"]) == 1


def test_two_devices_of_one_host_run_one_after_another(at_work: dict[str, int]) -> None:
    reported: list[tuple[str, str, str]] = []
    hosts = {"shed": "pi@shed", "shed-ort": " pi@shed ", "nuc": "nuc", "shed-ov": "pi@shed"}
    devices = {name: RemoteDevice.model_validate({"host": host}) for name, host in hosts.items()}
    done = run_all.run_on_all(
        devices,
        JOB,
        ssh="true",
        listener=Listening(event=lambda at: reported.append((at.name, at.step, at.detail))),
    ).to_json()
    assert done["passed"]
    assert [entry["name"] for entry in done["devices"]] == list(hosts)
    assert at_work == {"pi@shed": 1, "nuc": 1}
    waiting = [words for words in reported if words[1] == "in turn"]
    assert waiting == [(name, "in turn", "shed is on the same host") for name in ("shed-ort", "shed-ov")]


def test_a_host_is_stripped_before_it_is_checked(tmp_path: Path) -> None:
    assert choose([" nuc "], None)[" nuc "].host == "nuc"
    for host in (" ", " -oProxyCommand=x"):
        with pytest.raises(BadInput):
            choose([host], None)
