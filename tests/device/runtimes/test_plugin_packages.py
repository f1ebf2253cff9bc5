"""Real plugin execution providers: Qualcomm's, whose package emulates its NPU on an x86 CPU, and one that takes
no node.

Each is a package from the registry, unpacked beside this interpreter's own: nothing is pretended.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="run once, with the host's tests")
onnxruntime = pytest.importorskip("onnxruntime")

REPOSITORY = Path(__file__).parents[3]
EMULATED = "QNN:backend_type=htp"
Verb = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64") or sys.version_info < (3, 11),
        reason="the plugins are packages for x86 Linux and Python 3.11",
    ),
    pytest.mark.skipif(
        not hasattr(onnxruntime, "register_execution_provider_library"),
        reason="this ONNX Runtime has no plugins",
    ),
]


def unpacked(folder: Path, package: str) -> Path:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*install, "--target", str(folder), package], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{package} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def qnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("qnn"), "onnxruntime-qnn>=2.7")


@pytest.fixture
def edge_tl(tmp_path: Path) -> Verb:
    """`edge_tl("verify", …, packages=folder)`, in a process of its own and an empty working folder."""

    def run(*arguments: object, packages: Path | None = None, **environment: str) -> Any:
        places = os.pathsep.join(str(place) for place in (REPOSITORY, packages) if place)
        return subprocess.run(
            [sys.executable, "-m", "edge_tl", *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env=os.environ | environment | {"PYTHONPATH": places},
        )  # fmt: skip

    return run


def result(done: subprocess.CompletedProcess[str]) -> Any:
    """Of one JSON object: a library that prints on stdout must not be seen there."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_devices_lists_the_plugin_and_what_it_found(edge_tl: Verb, qnn: Path) -> None:
    done = edge_tl("devices", "--json", packages=qnn)
    offer = result(done)["runtimes"]["onnxruntime"]
    [plugin] = [each for each in offer["plugins"] if each["package"] == "onnxruntime-qnn"]
    assert plugin["version"].split(".")[0] == "2"
    assert [(each["name"], each["hardware"]) for each in plugin["devices"]] == [("QNN", "CPU")]
    [trial] = [each for each in offer["sessions"] if each["name"] == "QNN"]
    assert not trial["works"]
    assert "backend" in trial["reason"], "without a backend it starts on a Snapdragon only"
    shown = edge_tl("devices", packages=qnn).stdout
    assert f"plugin   onnxruntime-qnn {plugin['version']}: QNN (CPU, " in shown


def test_a_real_bundle_is_verified_on_an_emulated_npu(edge_tl: Verb, qnn: Path, bundle_root: Path) -> None:
    found = result(edge_tl("verify", bundle_root, "--device", EMULATED, "--json", packages=qnn))
    assert found["passed"]
    for artifact in ("onnx-fp32", "onnx-int8"):
        ran = found["ran"][artifact]
        assert ran["device"] == "QNN"
        assert ran["options"] == {"backend_type": "htp"}
        assert ran["providers"]["QNN"] >= 1
        [gate] = [g for g in found["gates"] if (g["gate"], g["artifact"]) == ("device", artifact)]
        assert gate["passed"]
    assert {each["artifact"] for each in found["skipped"]} == {"openvino-fp32", "openvino-int8"}


def test_a_backend_that_it_has_not_is_refused(edge_tl: Verb, qnn: Path, bundle_root: Path) -> None:
    """Qualcomm's CPU backend, which the package does not bring."""
    done = edge_tl(
        "verify", bundle_root, "--device", "qnn:backend_type=cpu", "--artifact", "onnx-fp32", packages=qnn
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "QNN" in done.stderr


def test_a_plugin_that_takes_no_node_is_a_fallback(edge_tl: Verb, bundle_root: Path, tmp_path: Path) -> None:
    """ggml has no pooling, and leaves the whole graph to the CPU."""
    packages = unpacked(tmp_path / "packages", "onnxruntime-ggml")
    command = ("verify", bundle_root, "--device", "ggml", "--artifact", "onnx-fp32")
    refused = edge_tl(*command, packages=packages)
    assert refused.returncode == 2
    assert "error: --device ggml: every node ran on CPU. " in refused.stderr
    ran = result(edge_tl(*command, "--allow-fallback", "--json", packages=packages))["ran"]["onnx-fp32"]
    assert ran["device"] == "CPU"
    assert ran["fallback"]["asked"] == "ggml"


def test_a_library_that_the_variable_names(edge_tl: Verb, qnn: Path, bundle_root: Path) -> None:
    library = qnn / "onnxruntime_qnn" / "libonnxruntime_providers_qnn.so"
    command = (
        "verify",
        bundle_root,
        "--device",
        "Mine:backend_type=htp",
        "--artifact",
        "onnx-int8",
        "--json",
    )
    ran = result(edge_tl(*command, EDGE_TL_EP_LIBRARY=f"Mine={library}"))["ran"]["onnx-int8"]
    assert ran["device"] == "Mine"
    unknown = edge_tl(*command)
    assert unknown.returncode == 2
    assert "--device Mine:backend_type=htp: ONNX Runtime" in unknown.stderr


def test_an_fp16_file_on_an_accelerator_says_fp16(qnn: Path, tmp_path: Path) -> None:
    """Where the CPU computes the same file in float32, and says so."""
    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=10),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=1),
    ]
    image, answer = (
        helper.make_tensor_value_info(name, 1, [1, count, 2, 2]) for name, count in (("x", 3), ("y", 1))
    )
    graph = helper.make_graph(nodes, "g", [image], [answer], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(made, str(tmp_path / "half.onnx"))
    code = (
        "import sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime, ran\n"
        "for device in sys.argv[2:]: print(ran(open_runtime(Path(sys.argv[1]), device=device)).precision)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "half.onnx"), "CPU", EMULATED]
    places = os.pathsep.join((str(REPOSITORY), str(qnn)))
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": places}
    )
    assert done.stdout.split() == ["fp32", "fp16"]
