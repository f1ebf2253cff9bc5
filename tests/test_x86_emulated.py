"""INT8 on an older x86 CPU: a bundle's ONNX Runtime artifact under qemu's Haswell, which has AVX2 and no more."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tl.device.bundle import read_bundle
from edge_tl.device.machine import has_vnni, isa_flags
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import histograms

ROOT = Path(__file__).resolve().parents[1]
# As whoever opens the file without edge-tl does: no option.
PLAIN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
numpy.save(sys.argv[3], session.run(None, {session.get_inputs()[0].name: numpy.load(sys.argv[2])})[0])
"""


def lesser_cpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lesser_cpu", ROOT / "benchmarks" / "lesser_cpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lesser_cpu"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def test_a_lesser_cpu_lacks_the_flags_that_its_level_lacks() -> None:
    text = "processor\t: 0\nflags\t\t: sse4_1 avx f16c avx2 avx512f avx512_vnni avx_vnni amx_int8\nbogomips : 1\n"
    left = {level: lesser_cpu().lesser_cpuinfo(text, level) for level in lesser_cpu().LEVELS}
    flags = {level: re.findall(r"flags\s*:(.*)", found)[0].split() for level, found in left.items()}
    assert flags == {
        "avx512": ["sse4_1", "avx", "f16c", "avx2", "avx512f"],
        "avx2": ["sse4_1", "avx", "f16c", "avx2"],
        "avx": ["sse4_1", "avx"],
        "sse42": ["sse4_1"],
    }
    assert all(
        found.startswith("processor\t: 0\n") and found.endswith("bogomips : 1\n") for found in left.values()
    )


@pytest.fixture
def haswell(tmp_path: Path) -> list[str]:
    """What starts this Python there; skipped where it cannot be."""
    if platform.machine() not in ("x86_64", "AMD64") or sys.platform != "linux":
        pytest.skip("the emulator runs this machine's Python, which must be of x86-64 Linux")
    if not (shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")):
        pytest.skip("no qemu-x86_64 here")
    return list(lesser_cpu().emulated("avx2", tmp_path / "haswell", Path(sys.executable)))


def run(command: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def logits(python: list[str], model: Path, inputs: Path, out: Path) -> NDArray[np.float32]:
    run([*python, "-c", PLAIN, str(model), str(inputs), str(out)])
    found: NDArray[np.float32] = np.load(out)
    return found


def int8_file(bundle: Path, storage: str, folder: Path) -> Path:
    """The bundle's model with weights stored so."""
    read = read_bundle(bundle)
    folder.mkdir()
    qdq.prepare_graph(bundle / "model.fp32.onnx", folder / "prepared.onnx")
    seen = histograms(str(folder / "prepared.onnx"), read.golden_pixels())
    ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
    qdq.quantize(folder / "prepared.onnx", folder / "q", ranges, qdq.QdqOptions(storage))
    qdq.write_artifact(folder / "q", folder / "model.onnx", storage, 8, read.preprocess, read.labels)
    return folder / "model.onnx"


@pytest.mark.slow
def test_without_vnni_and_without_an_option_what_cannot_saturate_gives_the_same_logits(
    bundle: Path, haswell: list[str], tmp_path: Path
) -> None:
    if "avx2" in isa_flags() and not has_vnni():
        pytest.skip("this CPU saturates natively: there is nothing to compare with")
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, read_bundle(bundle).golden_pixels())
    off = {}
    for number, storage in enumerate((qdq.SEVEN_BITS, qdq.SIGNED)):
        model = int8_file(bundle, storage, tmp_path / str(number))
        here = logits([sys.executable], model, inputs, tmp_path / "here.npy")
        there = logits(haswell, model, inputs, tmp_path / "there.npy")
        off[storage] = float(np.abs(there - here).max() / np.abs(here).max())
    assert off[qdq.SEVEN_BITS] == 0
    assert off[qdq.SIGNED] > 0.2, "eight bits saturate there, or the emulator proves nothing"


@pytest.mark.slow
def test_every_gate_passes_there(bundle: Path, haswell: list[str]) -> None:
    words = [
        "-m",
        "edge_tl",
        "verify",
        str(bundle),
        "--artifact",
        "onnx-int8",
        "--artifact",
        "onnx-fp32",
        "--json",
    ]
    found: Any = json.loads(run([*haswell, *words]))
    assert set(found["machine"]["isa"]) & {"avx2", "avx512f", "avx512_vnni", "avx_vnni"} == {"avx2"}
    assert found["passed"], [gate["reason"] for gate in found["gates"]]
    assert {(gate["gate"], gate["artifact"]) for gate in found["gates"]} >= {
        ("pixels", None),
        ("device", "onnx-int8"),
        ("loss", "onnx-int8"),
    }
