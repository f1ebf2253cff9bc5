"""Picks of devices come home: with a real sshd, and with results that a device may have made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Maker, Write, until

from edge_tl.device.bundle import read_bundle
from edge_tl.device.machine import identity
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.tuning.pick_file import machine_id
from edge_tl.host.remote.job import DeviceResult
from edge_tl.host.remote.picks import bring_home

RunCli = Callable[..., Any]
BRIEF = ["--artifact", "onnx-fp32", "--artifact", "onnx-int8", "--budget", "0.05"]


def test_the_picks_of_a_fleet_come_home_as_one_table(
    device: Maker,
    targets: Write,
    tiny: Path,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shed = device("shed")
    monkeypatch.setenv("EDGE_TL_SSH", shed.ssh)
    done = run_cli("tune", tiny, *BRIEF, "--targets", targets(shed), "--out", tmp_path / "home")
    assert done.code == 0, done.err
    (pick,) = (tiny / "tuned").iterdir()
    record = TunedRecord.from_json(json.loads(pick.read_text("utf-8")))
    assert record.machine_id == pick.stem == machine_id(identity()), "the device of this test is this machine"
    row = next(line for line in done.out.splitlines() if line.startswith("shed"))
    assert f"{record.artifact} on CPU, {record.threads} thread" in row
    assert "1 of 1 devices returned a result." in done.out
    assert f"shed: saved {pick}" in done.err
    saved = json.loads((tmp_path / "home" / "shed.json").read_text("utf-8"))
    assert saved["path"] == str(pick)
    assert str(shed.home) not in json.dumps(saved), "no path of the device"
    with read_bundle(tiny).open() as model:
        assert model.tuned == record
    until(shed.quiet, "the device to be quiet")


def result(root: Path, **changes: Any) -> DeviceResult:
    bundle = read_bundle(root)
    record = TunedRecord(
        objective="latency",
        artifact="onnx-fp32",
        device="CPU",
        threads=1,
        latency_ms=LatencyRecord(p50=1.0, n=20),
        over=(),
        machine_id="board-4-cores-linux-0123456789ab",
        machine=identity(),
        when="2026-01-01T00:00:00+00:00",
        bundle_seal=bundle.record.seal or "",
        files={},
    )
    value = record.to_json() | {"path": "/home/somebody/pick.json"} | changes
    return DeviceResult("shed", "pi@shed", "passed", exit_code=0, result=value)


def test_a_pick_is_written_under_its_machines_name(tiny: Path) -> None:
    done = bring_home(tiny)(result(tiny))
    path = tiny / "tuned" / "board-4-cores-linux-0123456789ab.json"
    assert done.saved == (str(path),)
    assert done.result is not None
    assert done.result["path"] == str(path)
    assert "somebody" not in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine_id": "../../outside"}, "machine_id"),
        ({"machine_id": "x" * 81}, "machine_id"),
        ({"bundle_seal": "0" * 64}, "of another bundle"),
        ({"threads": -1}, "threads"),
    ],
)
def test_what_a_device_made_up_is_named_and_not_written(
    tiny: Path, changes: dict[str, Any], said: str
) -> None:
    done = bring_home(tiny)(result(tiny, **changes))
    assert (done.status, done.step) == ("error", "save")
    assert done.error is not None
    assert said in done.error
    assert not (tiny / "tuned").exists()
    assert not (tiny.parent / "outside.json").exists()


def test_where_nothing_was_picked_nothing_is_written(tiny: Path) -> None:
    none = dict.fromkeys(("artifact", "device", "threads", "latency_ms"))
    done = bring_home(tiny)(result(tiny, **none))
    assert (done.status, done.saved) == ("passed", ())
    assert done.result is not None
    assert "path" not in done.result
    assert not (tiny / "tuned").exists()
