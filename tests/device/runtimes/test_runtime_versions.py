"""Both ends of what pyproject.toml allows of a runtime: the oldest, on the oldest Python, and the newest.

ONNX Runtime has no packages for Python 3.10 from 1.24 on, so there the newest is 1.23. Each is installed from the
registry into an environment of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
pytest.importorskip("onnx", reason="run once, with the host's tests: it makes its own device environments")
pytestmark = pytest.mark.slow
BESIDE = ("pillow", "typer")


def oldest(runtime: str) -> str:
    """The version that the runtime's extra names."""
    pattern = rf'^\w+ = \["{runtime}>=([\d.]+)"\]$'
    [found] = re.findall(pattern, (REPOSITORY / "pyproject.toml").read_text(), re.M)
    return str(found)


def python_3_10() -> str:
    """The interpreter, on the path or where pyenv keeps its own."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which("python3.10"), *map(str, sorted(kept.glob("3.10*/bin/python3")))):
        # What pyenv puts on the path stands for versions that it may not have chosen.
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("no Python 3.10 here")


def verified(folder: Path, python: str, *packages: str, bundle: Path) -> tuple[str, Any]:
    """What the first of `packages` calls itself in a new environment, and what `verify` prints there."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True)
    inside = str(folder / "bin" / "python")
    install = [
        inside,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]
    done = subprocess.run([*install, *packages, *BESIDE], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{packages[0]} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def run(*arguments: str) -> Any:
        command = [inside, "-m", "edge_tl", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    version = run("devices")["runtimes"][packages[0].partition("=")[0]]["version"]
    return version, run("verify", str(bundle))


def assert_passed(found: Any, kind: str = "onnx") -> None:
    assert found["passed"]
    assert set(found["ran"]) == {f"{kind}-fp32", f"{kind}-int8"}
    assert all(ran["device"] == "CPU" for ran in found["ran"].values())
    assert found["ran"][f"{kind}-int8"]["precision"] == "int8"


def test_the_oldest_on_python_3_10(bundle_root: Path, tmp_path: Path) -> None:
    """Made for NumPy 1, as every ONNX Runtime before 1.19."""
    first = oldest("onnxruntime")
    packages = (f"onnxruntime=={first}.*", "numpy<2")
    version, found = verified(tmp_path / "venv", python_3_10(), *packages, bundle=bundle_root)
    assert version.startswith(first)
    assert_passed(found)


def test_the_oldest_openvino_on_python_3_10(bundle_root: Path, tmp_path: Path) -> None:
    first = oldest("openvino")
    package = f"openvino=={first}.*"
    version, found = verified(tmp_path / "venv", python_3_10(), package, bundle=bundle_root)
    assert version.startswith(first)
    assert_passed(found, "openvino")


def test_the_newest_on_python_3_10(bundle_root: Path, tmp_path: Path) -> None:
    version, found = verified(tmp_path / "venv", python_3_10(), "onnxruntime", bundle=bundle_root)
    assert version.startswith("1.23."), "docs/how-to/install.md says that this is the last one"
    assert_passed(found)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="it is not for this Python")
def test_the_newest(bundle_root: Path, tmp_path: Path) -> None:
    version, found = verified(tmp_path / "venv", sys.executable, "onnxruntime", bundle=bundle_root)
    assert tuple(map(int, version.split(".")[:2])) >= (1, 31)
    assert_passed(found)
