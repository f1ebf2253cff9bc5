"""A real bundle on another instruction set: Debian's arm64 Python and aarch64 wheels under qemu."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WALK = Path(__file__).parent / "arm_walk.sh"
CANNOT = 77

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Arm = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    """`arm("verify", bundle)`: exit code and JSON of a verb on emulated Arm. EDGE_TL_ARM_CACHE keeps the downloads."""
    cache = Path(os.environ.get("EDGE_TL_ARM_CACHE") or tmp_path_factory.mktemp("arm"))

    def run(*arguments: object) -> tuple[int, Any]:
        command = ["sh", str(WALK), str(cache), *map(str, arguments), "--json"]
        environment = os.environ | {"PYTHON": sys.executable}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode == CANNOT:
            pytest.skip((done.stderr.strip().splitlines() or ["no reason"])[-1])
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_without_an_emulator_the_walk_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    command = ["sh", str(WALK), str(tmp_path / "cache"), "devices"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path / "bin")}
    )
    assert done.returncode == CANNOT
    assert done.stderr == "no qemu-aarch64 here\n"
    assert not (tmp_path / "cache").exists()


def test_the_fp32_gates_pass_on_arm_and_int8_says_what_it_finds(arm: Arm, bundle: Path) -> None:
    _, result = arm("verify", bundle)
    assert result["machine"]["arch"] == "aarch64"
    assert {"neon", "dotprod"} <= set(result["machine"]["isa"])
    gates = {(gate["gate"], gate["artifact"]): gate for gate in result["gates"]}
    for gate in ("device", "loss"):
        for artifact in ("onnx-fp32", "openvino-fp32"):
            assert gates[gate, artifact]["passed"], gates[gate, artifact]
        for artifact in ("onnx-int8", "openvino-int8"):  # judged, whatever the verdict
            assert gates[gate, artifact]["reason"]
    assert gates["pixels", None]["passed"], gates["pixels", None]
    assert gates["device", "onnx-fp32"]["measured"] > 0, "bit for bit the same as x86: was that emulated?"
    for what_ran in result["ran"].values():
        assert what_ran["device"] == "CPU"
        assert what_ran["threads"] == result["machine"]["cores_allowed"]
    kernels = result["ran"]["openvino-fp32"]["kernels"]
    assert kernels
    assert not any("avx" in name or "sse" in name for name in kernels), kernels


def test_bench_starts_processes_of_the_same_kind(arm: Arm, bundle: Path) -> None:
    code, result = arm("bench", bundle, "--artifact", "onnx-fp32", "--rounds", 1, "--count", 2)
    assert code == 0
    assert result["machine"]["arch"] == "aarch64"
    assert [row["id"] for row in result["artifacts"]] == ["onnx-fp32"]
    assert result["artifacts"][0]["ran"]["providers"].keys() == {"CPU"}


def test_the_device_chooses_and_uses_its_choice(arm: Arm, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    code, result = arm("tune", copy, "--artifact", "onnx-fp32", "--budget", 1)
    assert code == 0
    assert (result["artifact"], result["machine"]["arch"]) == ("onnx-fp32", "aarch64")
    cores = result["machine"]["cores_allowed"]
    timed = {result["threads"], *(other["threads"] for other in result["over"])}
    assert timed == {1, max(1, cores // 2), cores}
    assert Path(result["path"]).parent == copy / "tuned"
    _, answer = arm("predict", copy, next((copy / "golden" / "images").iterdir()))
    assert answer["artifact"] == "onnx-fp32"
