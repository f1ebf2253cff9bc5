"""One device and what can be wrong with it: the reason and the remedy in one line; what is copied, and what is not."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening
from loopback import Loopback, Maker, Write, clients, until

from edge_tl.device import bundle as bundles
from edge_tl.host.listeners import DeviceEvent
from edge_tl.host.remote import run_all, upload, wheel
from edge_tl.host.remote.inventory import RemoteDevice
from edge_tl.host.remote.job import Job

OLD = 'import sys; sys.version_info = (3, 9, 2, "final", 0);'


def send(
    loopback: Loopback,
    verb: str = "devices",
    *words: str | upload.Tree,
    code: wheel.Wheel | None = None,
    wheels: upload.Tree | None = None,
    **fields: Any,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The device's entry, and its progress."""
    reported: list[tuple[str, str]] = []
    remote = RemoteDevice.model_validate(
        {"host": loopback.name, "python": sys.executable, "site_packages": True} | fields
    )
    result = run_all.run_on_all(
        {"it": remote},
        Job(verb, words, code or wheel.build_wheel(), wheels),
        ssh=loopback.ssh,
        listener=Listening(event=lambda at: reported.append((at.step, at.detail))),
    ).to_json()
    [entry] = result["devices"]
    assert result["passed"] == (entry["status"] == "passed")
    return entry, reported


def fails(loopback: Loopback, step: str, *words: str, **fields: Any) -> None:
    """It fails at the step, in one line that holds the words."""
    entry, reported = send(loopback, **fields)
    assert (entry["status"], entry["step"]) == ("error", step), entry
    assert "\n" not in entry["error"]
    for word in words:
        assert word in entry["error"]
    assert reported[-1] == ("failed", entry["error"])


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def copied(reported: list[tuple[str, str]]) -> str:
    return next(note for step, note in reported if step == "copy")


def test_it_is_copied_once_and_what_was_damaged_there_again(device: Maker, tiny: Path):
    shed = device("shed")
    words = (upload.of_bundle(tiny), "--artifact=onnx-fp32")
    entry, reported = send(shed, "verify", *words)
    assert entry["status"] == "passed", entry
    assert copied(reported).startswith(f"{len(words[0].contents) + 1} files")  # the bundle's, and the wheel
    assert ("environment", "made") in reported
    assert stat.S_IMODE(shed.store.stat().st_mode) == 0o700
    objects = sorted((shed.store / "objects").iterdir())
    objects[0].chmod(0o600)
    objects[0].write_bytes(b"damaged")
    objects[1].unlink()
    before = {path: path.stat().st_ino for path in objects[2:]}
    entry, reported = send(shed, "verify", *words)
    assert entry["status"] == "passed", entry
    assert copied(reported).startswith("2 files")
    assert ("environment", "was there") in reported
    assert {path: path.stat().st_ino for path in before} == before
    _, reported = send(shed, "verify", *words)
    assert copied(reported) == "nothing new"


def test_a_labelled_folder_goes_along(device: Maker, tiny: Path, pictures: Path):
    entry, _ = send(
        device("shed"), "verify", upload.of_bundle(tiny), "--data", upload.of_path(pictures), "--artifact=onnx-fp32"
    )  # fmt: skip
    assert entry["status"] == "passed", entry
    [row] = entry["result"]["data"]["accuracy"]
    assert row["n"] == 9
    assert Path(entry["result"]["data"]["folder"]).name == pictures.name


def test_a_failed_gate_is_a_result_that_comes_home(device: Maker, targets: Write, tiny: Path, run_cli: Any):
    stored = tiny / bundles.GOLDEN_PIXELS
    with np.load(stored) as file:
        pixels = file["pixels"]
    np.savez_compressed(stored, pixels=pixels + np.float32(1))
    record = json.loads((tiny / "bundle.json").read_text("utf-8"))
    for part in (*record["artifacts"], record["golden"]):
        part["files"] = [bundles.file_record(tiny, entry["path"]).to_json() for entry in part["files"]]
    bundles.write_sealed(tiny, record)
    shed = device("shed")
    file = targets(shed)
    options = ["--artifact", "onnx-fp32", "--ssh", shed.ssh, "--out", "home"]
    done = run_cli("verify", tiny, "--targets", file, *options)
    assert done.code == 1
    assert "FAILED a gate" in done.out
    assert "pixels" in done.out
    assert json.loads(Path("home/shed.json").read_text("utf-8"))["passed"] is False


def test_what_the_verb_complains_of_there_is_said_here(device: Maker, tiny: Path):
    entry, _ = send(device("shed"), "verify", upload.of_bundle(tiny), "--artifact=onnx-fp23")
    assert (entry["status"], entry["step"]) == ("error", "run")
    assert entry["error"].startswith("no artifact 'onnx-fp23'")


def test_nobody_there(device: Maker):
    shed = device("shed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fails(shed, "connect", "nothing listens for ssh there", host=f"ssh://root@127.0.0.1:{port}")
    fails(shed, "connect", "no such host", "Check the name", host="nobody@shed.invalid")


def test_a_host_key_that_is_unknown_and_one_that_changed(device: Maker, tmp_path: Path):
    stranger, shed = device("stranger", known=False), device("shed")
    fails(stranger, "connect", "host key is not known here", "ssh stranger")
    known = tmp_path / "known_hosts"
    other = (tmp_path / "stranger.key.pub").read_text()
    known.write_text(f"[127.0.0.1]:{shed.port} {other}")
    fails(shed, "connect", "not the one known here", "ssh-keygen -R")


def test_a_device_that_takes_no_key_of_ours(device: Maker, tmp_path: Path):
    fails(
        device("shed", "AuthorizedKeysFile none", "PubkeyAuthentication no"), "connect", "refused", "ssh-copy-id"
    )  # fmt: skip


def test_no_python_or_an_old_one(device: Maker, tmp_path: Path):
    bin = tmp_path / "bin"
    shed = device("shed")
    fails(shed, "connect", "/nowhere/python", "not Python 3.10 or newer", python="/nowhere/python")
    old = script(bin / "python3", f"exec {sys.executable} -c '{OLD}'\"$2\"")
    fails(shed, "connect", "Python 3.9", "python:", python=old)


def test_the_newest_python_is_taken_where_python3_is_old(device: Maker, tmp_path: Path):
    bin = tmp_path / "bin"
    script(bin / "cat", 'exec /bin/cat "$@"')
    script(bin / "python3", f"exec {sys.executable} -c '{OLD}'\"$2\"")
    shed = device("shed", f'ForceCommand PATH={bin}; eval "$SSH_ORIGINAL_COMMAND"')
    fails(shed, "connect", "no Python 3.10 or newer there", "Python 3.9", python=None)
    script(bin / "python3.11", f'exec {sys.executable} "$@"')
    entry, _ = send(shed, python=None)
    assert entry["status"] == "passed", entry


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_debian_without_python3_venv(device: Maker, tmp_path: Path, module: str):
    (tmp_path / "broken").mkdir()
    (tmp_path / f"broken/{module}.py").write_text(f'raise ModuleNotFoundError("No module named {module}")')
    python = script(tmp_path / "python", f'PYTHONPATH={tmp_path}/broken exec {sys.executable} "$@"')
    shed = device("shed")
    fails(
        shed, "environment", f"No module named {module}", "python3-venv", python=python, site_packages=False
    )
    assert [path for path in (shed.store / "envs").iterdir() if path.is_dir()] == []


def test_a_limit_on_the_size_of_files_is_a_full_disk(device: Maker):
    shed = device("shed", 'ForceCommand ulimit -f 8; eval "$SSH_ORIGINAL_COMMAND"')
    fails(shed, "copy", "disk is full", "MB free in", "folder:")
    assert list((shed.store / "objects").iterdir()) == []
    assert list((shed.store / "tmp").iterdir()) == []


def test_a_folder_that_others_may_write_to(device: Maker):
    shed = device("shed")
    shed.store.mkdir(parents=True)
    shed.store.chmod(0o777)
    fails(shed, "connect", "not private", "chmod 700")


@pytest.mark.parametrize("folder", ["~", "~/photos"])
def test_a_folder_of_the_persons_own_is_refused_and_untouched(device: Maker, folder: str):
    shed = device("shed")
    for name in ("runs/flowers/run.json", "code/main.py", "envs/mine", "objects/x", "tmp/y"):
        for root in (shed.home, shed.home / "photos"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("mine")
            os.utime(root / name, (1e9, 1e9))
    before = {path: path.stat().st_mtime_ns for path in sorted(shed.home.rglob("*"))}
    fails(shed, "connect", "not edge-tl's own", "`folder:` in targets.yaml", folder=folder)
    assert {path: path.stat().st_mtime_ns for path in sorted(shed.home.rglob("*"))} == before


def test_modules_in_the_home_there_are_not_imported(device: Maker):
    shed = device("shed")
    for name in ("json", "tarfile", "venv", "numpy", "queue", "ensurepip"):
        (shed.home / f"{name}.py").write_text(f"raise SystemExit('a person's own {name}')")
    entry, _ = send(shed)
    assert entry["status"] == "passed", entry


def test_a_python_below_the_home_there(device: Maker):
    shed = device("shed")
    script(shed.home / "p y/it's", f'exec {sys.executable} "$@"')
    entry, _ = send(shed, python="~/p y/it's")
    assert entry["status"] == "passed", entry


def test_login_scripts_that_talk_and_a_folder_with_quotes(device: Maker, tmp_path: Path):
    shed = device("shed", 'ForceCommand echo Welcome; eval "$SSH_ORIGINAL_COMMAND"; echo Bye')
    folder = '~/it\'s "the" $HOME ünd `x`'
    entry, _ = send(shed, folder=folder)
    assert entry["status"] == "passed", entry
    assert (shed.home / folder[2:] / "envs").is_dir()


def test_wheels_that_are_brought_along(device: Maker, tmp_path: Path):
    """What the device lacks comes from the folder, and from nowhere else."""
    shed, own = device("shed"), wheel.build_wheel()
    needy = replace(own, requirements=(*own.requirements, "edge-tl-probe>=2"))
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "readme.txt").write_text("no wheel")
    info = "edge_tl_probe-2.0.dist-info"
    with zipfile.ZipFile(folder / "edge_tl_probe-2.0-py3-none-any.whl", "w") as archive:
        archive.writestr("edge_tl_probe.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: edge-tl-probe\nVersion: 2.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    brought = upload.of_path(folder, suffix=".whl")
    absent = replace(own, requirements=(*own.requirements, "edge-tl-absent>=2"))
    fails(shed, "environment", "pip could not", "edge-tl-absent", "--wheels", code=absent, wheels=brought)
    entry, _ = send(shed, code=needy, wheels=brought)
    assert entry["status"] == "passed", entry
    assert len(list(shed.store.glob("envs/*/lib/python3*/site-packages/edge_tl_probe.py"))) == 1


def test_what_dead_runs_left_is_removed(device: Maker):
    shed = device("shed")
    send(shed)
    (dead := shed.store / "runs/1-1/0").mkdir(parents=True)
    (dead / "x").write_text("x")
    unused = shed.store / "objects" / ("0" * 64)
    unused.write_text("x")
    os.utime(unused, (1e9, 1e9))
    entry, _ = send(shed)
    assert entry["status"] == "passed"
    assert dead.exists()  # nobody recorded that edge-tl made them
    assert unused.exists()
    for recorded in ("runs.1-1", f"objects.{unused.name}"):
        (shed.store / "made" / recorded).touch()
    entry, _ = send(shed)
    assert entry["status"] == "passed"
    assert list((shed.store / "runs").iterdir()) == []
    assert not unused.exists()


def test_a_file_that_changes_while_it_is_copied(device: Maker, tiny: Path):
    tree = upload.of_bundle(tiny)
    path = tiny / "model.fp32.onnx"
    path.write_bytes(bytes(path.stat().st_size))
    entry, _ = send(device("shed"), "verify", tree)
    assert (entry["status"], entry["step"]) == ("error", "copy")
    assert "changed while it was copied" in entry["error"]


def test_a_connection_that_falls_silent_is_noticed(device: Maker, tiny: Path):
    """The other end is stopped, not closed: only ssh's own keep-alive can tell."""
    shed = device("shed")
    stopped: list[Any] = []

    def stop(at: DeviceEvent) -> None:
        if at.step == "run" and not stopped:
            stopped.extend(p for p in shed.sshd.children(recursive=True) if "sshd" in p.name())
            for process in stopped:
                process.suspend()

    remote = RemoteDevice(host="shed", python=sys.executable, site_packages=True)
    quick = shed.ssh + " -oServerAliveInterval=1 -oServerAliveCountMax=2"
    job = Job("bench", (upload.of_bundle(tiny), "--rounds=500"), wheel.build_wheel())
    [entry] = run_all.run_on_all({"it": remote}, job, ssh=quick, listener=Listening(event=stop)).to_json()[
        "devices"
    ]
    assert (entry["status"], entry["step"]) == ("error", "run")
    assert "not responding" in entry["error"]
    for process in stopped:
        process.resume()
    until(shed.quiet, "the device to be quiet")
    assert clients(shed.config) == []
