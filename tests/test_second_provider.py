"""A second execution provider that runs anywhere: onnxruntime-openvino, in an environment of its own.

What is asserted of "OpenVINO" here is what CUDA, TensorRT, XNNPACK, QNN, CoreML and DirectML go through: an offer, a
session that works or does not, nodes that another provider ran.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
Other = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Other:
    """`other("-m", "edge_tl", ...)` runs the second environment's Python."""
    folder = tmp_path_factory.mktemp("provider") / "venv"
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "onnxruntime-openvino",
        "numpy",
        "pillow",
        "typer",
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime-openvino cannot be installed here: {done.stderr.strip().splitlines()[-1]}")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [str(python), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return run


def edge_tl(other: Other, *arguments: object) -> Any:
    done = other("-m", "edge_tl", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_devices_says_that_it_works(other: Other) -> None:
    found = edge_tl(other, "devices")["runtimes"]
    assert found["openvino"] is None
    assert "OpenVINOExecutionProvider" in found["onnxruntime"]["providers"]
    assert {"name": "OpenVINO", "works": True, "reason": None} in found["onnxruntime"]["sessions"]


def test_a_real_bundle_is_verified_there(other: Other, bundle: Path) -> None:
    result = edge_tl(other, "verify", bundle, "--device", "openvino")
    gates = {(g["gate"], g["artifact"]): g for g in result["gates"]}
    assert gates["device", "onnx-fp32"]["passed"]
    assert gates["device", "onnx-fp32"]["measured"] > 0, "the CPU's own numbers: was it another provider?"
    assert result["ran"]["onnx-fp32"]["device"] == "OpenVINO"
    assert set(result["ran"]["onnx-fp32"]["providers"]) == {"OpenVINO"}
    reasons = {entry["artifact"]: entry["reason"] for entry in result["skipped"]}
    assert set(reasons) == {"openvino-fp32", "openvino-int8"}
    assert all("not installed" in reason for reason in reasons.values())


def test_a_real_bundle_is_timed_there(other: Other, bundle: Path) -> None:
    arguments = ("--device", "OpenVINO", "--artifact", "onnx-fp32", "--rounds", 1, "--count", 3)
    [row] = edge_tl(other, "bench", bundle, *arguments)["artifacts"]
    assert row["ran"]["device"] == "OpenVINO"
    assert "notes" not in row["ran"]


def model(path: Path, *tail: Any, convolutions: int = 2, relu: bool = True) -> Path:
    """Convolutions, with ReLU, then operators that the OpenVINO provider may not have; ends in "y"."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i in range(convolutions):
        weights.append(
            onnx.numpy_helper.from_array(rng.normal(size=(3, 3, 3, 3)).astype(np.float32), f"w{i}")
        )
        nodes.append(onnx.helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        last = f"c{i}"
        if relu:
            nodes.append(onnx.helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
    names = [last, *(f"t{i}" for i in range(len(tail) - 1)), "y"]
    nodes += [
        onnx.helper.make_node(op, [names[i]], [names[i + 1]], **more) for i, (op, more) in enumerate(tail)
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [1, 3, 4, 4])], [value("y", 1, None)], weights)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    onnx.save_model(made, str(path))
    return path


SAY = (
    "import json, sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime, ran\n"
    "from edge_tl.device.errors import FellBack\n"
    "try:\n"
    " found = open_runtime(Path(sys.argv[1]), device='OpenVINO', allow_fallback='-f' in sys.argv)\n"
    " print(json.dumps(ran(found).to_json()))\n"
    "except FellBack as error: print(json.dumps({'refused': str(error)}))"
)


def said(other: Other, path: Path, *more: str) -> Any:
    done = other("-c", SAY, path, *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_provider_that_starts_and_runs_nothing_is_refused(other: Other, tmp_path: Path) -> None:
    path = model(tmp_path / "nothing.onnx", ("Det", {}), convolutions=0)
    refused = said(other, path)["refused"]
    assert refused.startswith("--device OpenVINO: every node ran on CPU.")
    assert "--allow-fallback" in refused
    allowed = said(other, path, "-f")
    assert allowed["device"] == "CPU"
    assert allowed["fallback"] == {"asked": "OpenVINO", "ran": {"CPU": 1}, "why": "every node ran on CPU"}
    assert allowed["notes"] == ["OpenVINO was asked for, every node ran on CPU"]


def test_a_matrix_layer_elsewhere_is_refused(other: Other, tmp_path: Path) -> None:
    """A lone convolution before operators that the provider has not: it takes the last one only."""
    tail = [("Unique", {}), ("NonZero", {}), ("Cast", {"to": 1})]
    path = model(tmp_path / "half.onnx", *tail, convolutions=1, relu=False)
    what_ran = said(other, path, "-f")
    if "fallback" not in what_ran:
        pytest.skip("this build of the provider takes the convolution")
    assert set(what_ran["providers"]) == {"OpenVINO", "CPU"}
    assert "1 of 1 matrix layers ran on CPU" in said(other, path)["refused"]


def test_other_layers_elsewhere_are_a_warning(other: Other, tmp_path: Path) -> None:
    what_ran = said(other, model(tmp_path / "part.onnx", ("Det", {})))
    assert what_ran["device"] == "OpenVINO"
    assert what_ran["providers"] == {"OpenVINO": 1, "CPU": 1}
    assert what_ran["elsewhere"]["nodes"] == 1
    assert 0 < what_ran["elsewhere"]["time_share"] < 1
    assert what_ran["notes"][0].endswith("ran on CPU, no matrix layer among them: Det")
