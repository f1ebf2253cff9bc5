"""The device's part as a wheel: the same bytes for the same code, accepted by pip; its verbs start without the host."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

import edge_tl
from edge_tl.cli._verbs import VERBS
from edge_tl.device.errors import EdgeTLError
from edge_tl.host.remote import wheel

PACKAGE = Path(edge_tl.__file__).parent
HOST_PACKAGES = (
    "torch", "torchvision", "onnx", "onnxscript", "nncf", "safetensors", "yaml", "sklearn", "scipy", "matplotlib",
    "jinja2", "rich", "accelerate", "optuna", "filelock", "timm",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by pip without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    made = wheel.build_wheel()
    (folder / made.name).write_bytes(made.content)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--target",
        str(folder / "site"),
    ]
    done = subprocess.run([*pip, folder / made.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel's packages are unpacked in."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(io.BytesIO(wheel.build_wheel().content)) as archive:
        archive.extractall(folder)
    return folder


def bare(unpacked: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python in `folder` with the wheel, where none of the packages of the extra `host` can be imported."""
    start = folder / "start"
    start.mkdir(exist_ok=True)
    (start / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({HOST_PACKAGES}))\n"
    )
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | {"PYTHONPATH": f"{start}{os.pathsep}{unpacked}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def modules(root: Path) -> dict[str, Path]:
    """The modules below a folder by name; a package has that of its folder."""
    named = {path.relative_to(root).with_suffix(""): path for path in root.rglob("*.py")}
    return {".".join(p.parts).removesuffix(".__init__"): path for p, path in named.items()}


def imported(path: Path, known: Iterable[str]) -> set[str]:
    """The modules of `known` that a file imports or names in a text, with the packages that they are in."""
    names = {".".join(path.parts)}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(re.findall(r"edge_tl(?:\.\w+)+", node.value))
    parts = [name.split(".") for name in names]
    return {".".join(part[:n]) for part in parts for n in range(1, len(part) + 1)} & set(known)


def test_the_same_code_is_the_same_file(tmp_path: Path):
    copy = tmp_path / "edge_tl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    (copy / "device/__pycache__").mkdir()
    (copy / "device/__pycache__/x.pyc").write_bytes(b"")
    assert wheel.build_wheel(copy).sha256 == wheel.build_wheel().sha256
    with (copy / "device/latency.py").open("a") as file:
        file.write("\n")
    assert wheel.build_wheel(copy).sha256 != wheel.build_wheel().sha256


def test_it_holds_the_device_part_and_nothing_of_the_host(unpacked: Path):
    private = {path.stem for path in (PACKAGE / "cli").glob("_*.py")}
    of_host = {verb.module for verb in VERBS.values() if not verb.on_device}
    assert {name for name in wheel.HOST_CLI if not name.startswith("_")} == of_host
    assert {name for name in wheel.HOST_CLI if name.startswith("_")} < private
    cli = {verb.module for verb in VERBS.values() if verb.on_device} | (private - wheel.HOST_CLI)
    top = {path.name for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.glob("py.typed")}
    device = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "device").rglob("*.py")}
    assert len(device) > 20
    device |= {f"device/snippets/templates/{path.name}" for path in (PACKAGE / "device").rglob("*.txt")}
    expected = top | device | {f"cli/{name}.py" for name in cli}
    found = {path.relative_to(unpacked / "edge_tl") for path in (unpacked / "edge_tl").rglob("*")}
    assert {path.as_posix() for path in found if path.suffix} == expected


def test_every_module_of_it_is_used_by_a_verb_of_the_device(unpacked: Path):
    """What only the host imports lies with the host."""
    found = modules(unpacked)
    todo = [
        "edge_tl",
        "edge_tl.__main__",
        *(f"edge_tl.cli.{verb.module}" for verb in VERBS.values() if verb.on_device),
    ]
    used: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in used:
            used.add(name)
            todo += imported(found[name], found)
    assert sorted(set(found) - used) == []


def test_pip_installs_it(installed: Path):
    [there] = importlib.metadata.distributions(path=[str(installed)])
    assert there.version == edge_tl.__version__
    recorded = [file for file in there.files or () if file.suffix == ".py"]  # pip --target moves the scripts
    assert len(recorded) > 20
    assert all(Path(file.locate()).is_file() for file in recorded)


def test_its_verbs_work_where_nothing_of_the_host_is(unpacked: Path, tiny: Path, tmp_path: Path):
    where = "import edge_tl, importlib.util as u; print(edge_tl.__file__, u.find_spec('edge_tl.host'))"
    done = bare(unpacked, tmp_path, "-c", where)
    assert done.stdout.split() == [str(unpacked / "edge_tl/__init__.py"), "None"]
    image = next((tiny / "golden/images").iterdir())
    few = ["--rounds", "1", "--count", "2", "--artifact", "onnx-fp32"]
    for words in (
        ["--help"],
        ["devices", "--json"],
        ["bench", "--help"],
        ["verify", tiny, "--artifact", "onnx-fp32", "--json"],
        ["predict", tiny, image, "--artifact", "onnx-fp32", "--json"],
        ["bench", tiny, *few, "--json"],
        ["slim", tiny, "--keep", "onnx-fp32", "--out", tmp_path / "small"],
    ):
        done = bare(unpacked, tmp_path, "-m", "edge_tl", *words)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", sorted(name for name, verb in VERBS.items() if not verb.on_device))
def test_a_verb_of_the_host_says_what_it_needs(unpacked: Path, tmp_path: Path, verb: str):
    done = bare(unpacked, tmp_path, "-m", "edge_tl", verb, "x")
    assert (done.returncode, done.stdout) == (2, "")
    needs = f"the host part of edge-tl, which {verb} needs, is not installed"
    assert done.stderr == f'error: {needs}. Run: pip install "edge-tl[host]"\n'


def test_the_package_on_a_device_has_no_names_of_the_host(unpacked: Path, tmp_path: Path):
    code = (
        "import inspect, edge_tl\n"
        "from edge_tl import *\n"
        "assert load_bundle and predict and 'finetune' not in globals()\n"
        "found = {name for name, _ in inspect.getmembers(edge_tl)}\n"
        "assert set(edge_tl.__all__) <= found\n"
        "for name in ('export', 'finetune', 'RunResult'):\n"
        "    assert not hasattr(edge_tl, name) and name not in {*found, *dir(edge_tl), *edge_tl.__all__}\n"
        "print(len(edge_tl.__all__))\n"
    )
    done = bare(unpacked, tmp_path, "-c", code)
    assert (done.returncode, done.stdout) == (0, f"{len(edge_tl.__all__) - 3}\n"), done.stderr


@pytest.mark.parametrize("code", ["import edge_tl; edge_tl.finetune", "from edge_tl import finetune"])
def test_a_function_of_the_host_says_what_it_needs(unpacked: Path, tmp_path: Path, code: str):
    done = bare(unpacked, tmp_path, "-c", code)
    assert done.returncode == 1
    needs = "edge_tl.host, which edge_tl.finetune needs, is not installed"
    assert done.stderr.rstrip().endswith(f'{needs}. Run: pip install "edge-tl[host]"'), done.stderr


def test_the_help_on_a_device_names_its_own_verbs(unpacked: Path, tmp_path: Path):
    shown = bare(unpacked, tmp_path, "-m", "edge_tl", "--help").stdout
    assert {name for name in VERBS if f"\n  {name} " in shown} == {
        name for name, verb in VERBS.items() if verb.on_device
    }


def test_running_elsewhere_from_a_device_says_what_it_needs(unpacked: Path, tmp_path: Path):
    done = bare(unpacked, tmp_path, "-m", "edge_tl", "devices", "--on", "shed")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: the host part of edge-tl, which --on needs, is not installed. Run: pip"
    )


def test_it_requires_what_the_project_says(installed: Path):
    """Each in the form NAME>=VERSION: what a device has is compared with it without a library."""
    text = (PACKAGE.parent / "pyproject.toml").read_text("utf-8")
    made = wheel.build_wheel()
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
        wheel.build_wheel()


def test_the_programs_that_snippet_prints_are_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(wheel.build_wheel().content)) as archive:
        names = archive.namelist()
    there = {Path(name).stem for name in names if name.startswith("edge_tl/device/snippets/templates/")}
    assert there == {"python", "cpp", "javascript", "java", "csharp", "rust"}
