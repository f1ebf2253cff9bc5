"""The device's part as a wheel: the same bytes for the same code, accepted by pip; its verbs start without the host."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import edge_tl
from edge_tl.device.errors import EdgeTLError
from edge_tl.host.remote import wheel

PACKAGE = Path(edge_tl.__file__).parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by pip without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    made = wheel.build()
    (folder / made.name).write_bytes(made.content)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder / "site"]
    done = subprocess.run([*pip, folder / made.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_the_same_code_is_the_same_file(tmp_path: Path):
    copy = tmp_path / "edge_tl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    (copy / "device/__pycache__").mkdir()
    (copy / "device/__pycache__/x.pyc").write_bytes(b"")
    assert wheel.build(copy).sha256 == wheel.build().sha256
    with (copy / "device/latency.py").open("a") as file:
        file.write("\n")
    assert wheel.build(copy).sha256 != wheel.build().sha256


def test_it_holds_the_device_part_and_nothing_of_the_host(tmp_path: Path):
    (tmp_path / "x.whl").write_bytes(wheel.build().content)
    with zipfile.ZipFile(tmp_path / "x.whl") as archive:
        names = set(archive.namelist())
    for part in ("device", "cli"):
        here = {p.relative_to(PACKAGE.parent).as_posix() for p in (PACKAGE / part).glob("*.py")}
        assert here
        assert here <= names
    assert not [name for name in names if "/host/" in name or "__pycache__" in name]


def test_pip_installs_it_and_the_command_line_starts_without_the_host(installed: Path):
    [there] = importlib.metadata.distributions(path=[str(installed)])
    assert there.version == edge_tl.__version__
    recorded = [file for file in there.files or () if file.suffix == ".py"]  # pip --target moves the scripts
    assert len(recorded) > 20
    assert all(file.locate().is_file() for file in recorded)
    for words in (["--help"], ["devices", "--json"], ["bench", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "edge_tl", *words],
            env=os.environ | {"PYTHONPATH": str(installed)},
            cwd=installed.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    where = "import edge_tl, importlib.util as u; print(edge_tl.__file__, u.find_spec('edge_tl.host'))"
    done = subprocess.run(
        [sys.executable, "-c", where], env=os.environ | {"PYTHONPATH": str(installed)}, cwd=installed.parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(installed / "edge_tl/__init__.py"), "None"]


def test_it_requires_what_the_project_says(installed: Path):
    """Each in the form NAME>=VERSION: what a device has is compared with it without a library."""
    text = (PACKAGE.parent / "pyproject.toml").read_text("utf-8")
    made = wheel.build()
    base = re.search(r"^dependencies = \[(.*)\]$", text, re.MULTILINE)
    assert base
    assert sorted(made.requirements) == sorted(re.findall(r'"([^"]+)"', base[1]))
    for extra in wheel.EXTRAS:
        line = re.search(rf"^{extra} = \[(.*)\]$", text, re.MULTILINE)
        assert line
        assert list(made.extras[extra]) == re.findall(r'"([^"]+)"', line[1])
    every = [*made.requirements, *(r for extra in made.extras.values() for r in extra)]
    assert all(re.fullmatch(r"[a-z]+>=[\d.]+", requirement) for requirement in every)
    [there] = importlib.metadata.distributions(path=[str(installed)])
    assert set(made.requirements) <= set(there.requires or ())
    assert there.metadata.get_all("Provides-Extra") == list(wheel.EXTRAS)


def test_a_package_that_pip_did_not_install(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    with pytest.raises(EdgeTLError, match="pip install"):
        wheel.build()
