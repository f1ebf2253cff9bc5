"""Devices on loopback: a real sshd each, with a home, a port and a host key of its own.

The host's interpreter, with its packages, plays the device's: nothing is downloaded.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from loopback import Loopback, Maker, until

TESTS = Path(__file__).parents[2]
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="session")
def _sshd_folder() -> Iterator[None]:
    """A root's sshd wants an empty folder, which the system's own service makes."""
    made = os.geteuid() == 0 and not Path("/run/sshd").exists()
    if made:
        Path("/run/sshd").mkdir(mode=0o755)
    yield
    if made:
        Path("/run/sshd").rmdir()


@pytest.fixture
def device(tmp_path: Path, _sshd_folder: None) -> Iterator[Maker]:
    """`device(name, *sshd_lines, known=True)` starts one and adds it to the ssh configuration of the test."""
    if SSHD is None:
        pytest.skip("no sshd here: install openssh-server")
    root = tmp_path / "rööm 'across'"  # a space, an accent and quotes: paths are never pasted into a shell
    root.mkdir()
    key, config, known_hosts = tmp_path / "key", tmp_path / "ssh_config", tmp_path / "known_hosts"
    _keygen(key)
    made: list[Loopback] = []

    def make(name: str, *lines: str, known: bool = True) -> Loopback:
        home = root / name
        home.mkdir()
        host_key = tmp_path / f"{name}.key"
        _keygen(host_key)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = tmp_path / f"{name}.sshd"
        settings.write_text(
            "\n".join(
                [
                    f"Port {port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {host_key}",
                    f"AuthorizedKeysFile {key}.pub",
                    "PidFile none",
                    "StrictModes no",
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "PermitRootLogin yes",
                    f'SetEnv "HOME={home}"',
                    *lines,
                ]
            )
            + "\n"
        )
        with (tmp_path / f"{name}.log").open("w") as log:
            sshd = psutil.Popen([SSHD, "-D", "-e", "-f", settings], stderr=log, stdin=subprocess.DEVNULL)
        if known:
            with known_hosts.open("a") as file:
                file.write(f"[127.0.0.1]:{port} {Path(f'{host_key}.pub').read_text()}")
        with config.open("a") as file:
            file.write(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
                f'  IdentityFile "{key}"\n  IdentitiesOnly yes\n  UserKnownHostsFile "{known_hosts}"\n'
                "  GlobalKnownHostsFile none\n"
            )
        made.append(Loopback(name, home, port, config, sshd))
        until(lambda: _listens(port) or sshd.poll() is not None, "sshd")
        if sshd.poll() is not None:
            pytest.skip(f"sshd does not start here: {(tmp_path / f'{name}.log').read_text()}")
        return made[-1]

    yield make
    for loopback in made:
        for process in [loopback.sshd, *loopback.sshd.children(recursive=True), *loopback.processes()]:
            try:
                process.kill()
            except psutil.Error:
                continue
        loopback.sshd.wait()


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def targets(tmp_path: Path) -> Callable[..., Path]:
    """`targets(shed, nuc=..., other={"extra": "ort"})` writes a targets.yaml whose devices have this interpreter."""

    def write(*loopbacks: Loopback, **fields: dict[str, Any]) -> Path:
        here = {"python": sys.executable, "site_packages": True}
        entries = {one.name: {"host": one.name} | here | fields.get(one.name, {}) for one in loopbacks}
        path = tmp_path / "targets.yaml"
        path.write_text(yaml.safe_dump(entries, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    return write


def _tiny() -> Any:
    specification = importlib.util.spec_from_file_location("tiny_bundle", TESTS / "device/conftest.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def _tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle") / "tiny büst's"
    _tiny().build(root)
    return root


@pytest.fixture
def tiny(_tiny_bundle: Path, tmp_path: Path) -> Path:
    """A tiny bundle that the test may change, in a folder with a space, an accent and a quote."""
    return Path(shutil.copytree(_tiny_bundle, tmp_path / _tiny_bundle.name))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A labelled folder for the tiny bundle: a class a sub-folder, three pictures each."""
    module = _tiny()
    root = tmp_path / "labelled pictures"
    for i, label in enumerate(module.LABELS):
        (root / label).mkdir(parents=True)
        for j in range(3):
            module.picture(100 * i + j).save(root / label / f"{j:02d}.png")
    return root
