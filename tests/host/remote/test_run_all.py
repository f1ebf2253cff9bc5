"""Several devices at once, each with a real sshd: every healthy one's report comes home, every other one is named,
and nothing is left running anywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Maker, Write, clients, until

from edge_tl.cli import _remote_run
from edge_tl.device.listener import Event
from edge_tl.host.listeners import DeviceEvent

CHILD = "edge_tl.device.bench."  # what bench times runs in processes of its own
SHORT = ["--rounds", "1", "--count", "5", "--artifact", "onnx-fp32"]
LONG = ["--rounds", "500", "--count", "50", "--artifact", "onnx-fp32"]


@pytest.fixture
def full(device: Maker, tmp_path: Path) -> Iterator[Maker]:
    """`full(name)` is a device whose home is a disk without room: a tmpfs where this user may mount one, else a
    limit on the size of its files."""
    mounted: list[Path] = []

    def mount(path: Path) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        mounted.append(path)
        return True

    def make(name: str) -> Loopback:
        (probe := tmp_path / "probe").mkdir()
        if not mount(probe):
            return device(name, 'ForceCommand ulimit -f 8; eval "$SSH_ORIGINAL_COMMAND"')
        made: Loopback = device(name)
        assert mount(made.home)
        return made

    yield make
    for home in mounted:
        subprocess.run(["umount", "-l", home], check=True)


def start(loopback: Loopback, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_tl", *map(str, words)],
        env=os.environ | {"EDGE_TL_SSH": loopback.ssh, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str], *loopbacks: Loopback) -> tuple[int, dict[str, Any], str]:
    """Exit code, entries by name, stderr; fails unless nothing is left here and on the devices."""
    out, err = process.communicate(timeout=300)
    nothing_left(*loopbacks)
    entries = {entry["name"]: entry for entry in json.loads(out)["devices"]} if out else {}
    return process.returncode, entries, err


def nothing_left(*loopbacks: Loopback) -> None:
    assert clients(loopbacks[0].config) == []
    for loopback in loopbacks:
        until(loopback.quiet, f"{loopback.name} to be quiet: {loopback.processes()}")
        if loopback.store.is_dir():
            assert list((loopback.store / "runs").iterdir()) == []
            assert list((loopback.store / "tmp").iterdir()) == []


def test_three_devices_one_drops_its_connection_and_one_has_a_full_disk(
    device: Maker,
    full: Maker,
    targets: Write,
    tiny: Path,
    run_cli: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The connection is lost before the verb runs: that device begins again. Two reports home, the third named."""
    shed, barn, loft = device("shed"), device("barn"), full("loft")
    dropped: list[bool] = []

    class Drops(_remote_run.DeviceLines):
        def event(self, event: Event) -> None:
            super().event(event)
            assert isinstance(event, DeviceEvent)
            if (event.name, event.step, dropped) == ("barn", "environment", []):
                dropped.append(True)
                barn.drop()

    monkeypatch.setattr(_remote_run, "DeviceLines", Drops)
    monkeypatch.setenv("EDGE_TL_SSH", shed.ssh)
    done = run_cli("bench", tiny, *SHORT, "--targets", targets(shed, barn, loft), "--out", "home", "--json")
    assert done.code == 1, done
    assert dropped
    assert sorted(path.name for path in Path("home").iterdir()) == ["barn.json", "shed.json"]
    entries = {entry["name"]: entry for entry in done.json["devices"]}
    assert [entries[name]["status"] for name in ("shed", "barn", "loft")] == ["passed", "passed", "error"]
    assert "disk is full" in entries["loft"]["error"]
    assert "barn: connect: barn" in done.err.splitlines()[4:]
    for name in ("shed", "barn"):
        saved = json.loads(Path(f"home/{name}.json").read_text("utf-8"))
        assert saved == entries[name]["result"]
        assert [row["id"] for row in saved["artifacts"]] == ["onnx-fp32"]
    nothing_left(shed, barn, loft)


def test_two_healthy_one_lost_while_it_runs_and_one_full(
    device: Maker, full: Maker, targets: Write, tiny: Path, tmp_path: Path
):
    shed, nuc, barn, loft = device("shed"), device("nuc"), device("barn"), full("loft")
    file = targets(shed, nuc, barn, loft)
    bench = start(shed, "bench", tiny, *SHORT, "--targets", file, "--out", tmp_path / "home", "--json")
    until(lambda: barn.running(CHILD), "the bench on barn")
    barn.drop()
    code, entries, err = finish(bench, shed, nuc, barn, loft)
    assert code == 1, err
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["nuc.json", "shed.json"]
    assert [entries[name]["status"] for name in entries] == ["passed", "passed", "error", "error"]
    assert entries["barn"]["step"] == "run"
    assert "connection was lost" in entries["barn"]["error"]
    assert "run again" in entries["barn"]["error"]
    assert "disk is full" in entries["loft"]["error"]
    assert "folder:" in entries["loft"]["error"]
    for name in ("barn", "loft"):
        assert f"{name}: failed: {entries[name]['error']}" in err.splitlines()


def test_a_lost_connection_ends_what_ran_there_grandchildren_too(device: Maker, targets: Write, tiny: Path):
    shed = device("shed")
    bench = start(shed, "bench", tiny, *LONG, "--targets", targets(shed), "--json")
    blocks: set[int] = set()

    # The first block over, it has said what it says: from here on a broken pipe would not end it.
    def a_second_block() -> bool:
        blocks.update(p.pid for p in shed.running(CHILD))
        return len(blocks) > 1

    until(a_second_block, "the bench")
    shed.drop()
    code, entries, _ = finish(bench, shed)
    assert (code, entries["shed"]["status"]) == (1, "error")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_here_ends_it_there(device: Maker, targets: Write, tiny: Path, number: int):
    shed, nuc = device("shed"), device("nuc")
    bench = start(shed, "bench", tiny, *LONG, "--targets", targets(shed, nuc))
    until(lambda: shed.running(CHILD) and nuc.running(CHILD), "the benches")
    bench.send_signal(number)
    code, _, err = finish(bench, shed, nuc)
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_a_killed_host_leaves_nothing_either(
    device: Maker, targets: Write, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    """kill -9 runs no cleaning: the pipes that only the host held open do it. An empty folder stays."""
    shed = device("shed")
    short = tempfile.mkdtemp(prefix="etl")  # a socket's path must be short
    monkeypatch.setenv("TMPDIR", short)
    bench = start(shed, "bench", tiny, *LONG, "--targets", targets(shed))
    until(lambda: shed.running(CHILD), "the bench")
    bench.kill()
    bench.communicate()
    until(lambda: not clients(shed.config), "the masters to end")
    nothing_left(shed)
    assert [list(left.iterdir()) for left in Path(short).iterdir()] == [[]]
    shutil.rmtree(short)


def test_two_runs_at_once_on_one_device(device: Maker, targets: Write, tiny: Path):
    shed = device("shed")
    file = targets(shed)
    both = [start(shed, "bench", tiny, *SHORT, "--targets", file, "--json") for _ in range(2)]
    results = [process.communicate(timeout=300) for process in both]
    for process, (out, err) in zip(both, results, strict=True):
        assert process.returncode == 0, err
        [entry] = json.loads(out)["devices"]
        assert entry["result"]["artifacts"][0]["latency_ms"]["n"] >= 5
    nothing_left(shed)
    assert len([path for path in (shed.store / "envs").iterdir() if path.is_dir()]) == 1
