"""What runs on the device imports nothing that the device does not have, whoever imports it."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edge_tl"
DEVICE = sorted((PACKAGE / "device").rglob("*.py"))
HOST = sorted((PACKAGE / "host").rglob("*.py"))
MODULES = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in DEVICE]
HEAVY = [
    "torch", "torchvision", "onnx", "onnxscript", "nncf", "scipy", "sklearn", "safetensors", "pydantic",
    "yaml", "jinja2", "matplotlib",
]  # fmt: skip
RUNTIMES = ["onnxruntime", "openvino"]
EXTRAS = {
    "predictions/video.py": {"cv2"},
    "serve/": {"fastapi", "h11", "python_multipart", "prometheus_client", "starlette", "uvicorn"},
}
EXTRA_MODULES = sorted(set().union(*EXTRAS.values()))


def python(code: str, *arguments: str) -> str:
    """Standard output of a fresh interpreter; what it complains of is the failure's message."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function; relative ones made absolute."""
    package = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_the_device_and_the_host_were_found() -> None:
    assert len(DEVICE) >= 10
    assert len(HOST) >= 10
    assert {"edge_tl.device.preprocess", "edge_tl.device.gates"} <= set(MODULES)


def test_every_device_module_imports_without_the_host() -> None:
    """A module set to None cannot be imported: `import torch` raises, wherever it stands."""
    code = (
        "import importlib, json, sys\n"
        "poison, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])\n"
        "sys.modules.update(dict.fromkeys(poison))\n"
        "for name in modules: importlib.import_module(name)\n"
        "print(len(modules))"
    )
    poison = [*HEAVY, *RUNTIMES, *EXTRA_MODULES, "typer", "click", "rich", "edge_tl.host", "edge_tl.cli"]
    assert python(code, json.dumps(poison), json.dumps(MODULES)).strip() == str(len(DEVICE))


@pytest.mark.parametrize("module", ["edge_tl.cli", *MODULES])
def test_no_import_loads_the_host_or_a_runtime(module: str) -> None:
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    loaded = set(python(code, module).split())
    allowed = {"pydantic"} if module == "edge_tl.cli" else set()  # Typer brings it in newer versions
    assert loaded & ({*HEAVY, *RUNTIMES, *EXTRA_MODULES} - allowed) == set()
    assert not [name for name in loaded if name.startswith("edge_tl.host")]


def test_help_works_without_rich_and_without_the_host() -> None:
    code = (
        "import json, sys; sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))\n"
        "from edge_tl.cli import main\n"
        "main(['--help'])"
    )
    poison = [name for name in [*HEAVY, *RUNTIMES, "rich"] if name != "pydantic"]
    shown = python(code, json.dumps(poison))
    assert all(verb in shown for verb in ("finetune", "export", "verify", "bench", "predict", "devices"))


@pytest.mark.parametrize("path", DEVICE, ids=lambda p: p.stem)
def test_device_files_import_only_what_the_device_has(path: Path) -> None:
    for name in imported(path):
        root = name.split(".")[0]
        if root == "edge_tl":
            assert name.startswith("edge_tl.device."), f"{path.name} imports {name}"
        else:
            # Pillow's plugin for HEIC is opened where it is installed and where such a file comes.
            allowed = {*sys.stdlib_module_names, "numpy", "PIL", "pillow_heif", *RUNTIMES}
            assert root in allowed | of_extras(path), f"{path.name} imports {name}"


def of_extras(path: Path) -> set[str]:
    """What an optional extra brings is imported in its own place alone, inside functions."""
    place = path.relative_to(PACKAGE / "device").as_posix()
    return next((names for start, names in EXTRAS.items() if place.startswith(start)), set())


@pytest.mark.parametrize("path", HOST, ids=lambda p: p.stem)
def test_host_files_do_not_import_the_command_line(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith("edge_tl.cli")]


def test_the_walk_sees_nested_and_relative_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "edge_tl")
    path = tmp_path / "edge_tl/device/x.py"
    path.parent.mkdir(parents=True)
    path.write_text("def f():\n    import torch.nn\n    from .. import host\n    from . import files\n")
    assert list(imported(path)) == ["torch.nn", "edge_tl.host", "edge_tl.device.files"]


@pytest.mark.parametrize(
    "line", ["import torch", "from edge_tl.host import zoo", "import yaml", "import rich"]
)
def test_the_linter_guards_the_wall_too(line: str) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("no ruff here")
    command = [
        ruff,
        "check",
        "--no-cache",
        "--select",
        "TID251",
        "--stdin-filename",
        "edge_tl/device/x.py",
        "-",
    ]
    done = subprocess.run(
        command, input=line + "\n", capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert done.returncode == 1
    assert "TID251" in done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="OpenVINO is not installed")
def test_nothing_is_reported_to_anyone() -> None:
    """OpenVINO's and NNCF's own reporters post to the network unless they cannot be imported."""
    code = (
        "import socket, sys, threading\n"
        "def refuse(*a, **k): raise SystemExit('the network was asked')\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "import edge_tl, openvino\n"
        "from openvino.tools.ovc import convert_impl\n"
        "print(convert_impl.tm.__name__)\n"
        "try:\n"
        "    import nncf.telemetry.wrapper as w\n"
        "    print(isinstance(w.telemetry, w.NNCFTelemetryStub))\n"
        "except ImportError: print(True)\n"
    )
    assert python(code).split() == ["openvino.tools.ovc.telemetry_stub", "True"]


@pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="ONNX Runtime is not installed")
def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """Its reporter leaves a session file in the temporary folder as soon as it is imported."""
    code = (
        "import os, pathlib, sys, edge_tl\n"
        "from edge_tl.device.runtimes.open import open_runtime\n"
        "open_runtime(pathlib.Path(sys.argv[1]))\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    model = Path(__file__).parent / "device" / "assets" / "tiny.onnx"
    silencing = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in silencing}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)],
        capture_output=True, text=True, check=True, cwd=PACKAGE.parent, env=environment | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["1"]
    assert list(tmp_path.iterdir()) == []
