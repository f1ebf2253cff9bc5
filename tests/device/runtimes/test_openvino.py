"""What OpenVINO really ran: devices after an inference, kernels, precision, a cap on the instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_tl.device.errors import BadInput, BundleError, FellBack
from edge_tl.device.machine import isa_flags
from edge_tl.device.runtimes import openvino_ as room
from edge_tl.device.runtimes.open import open_runtime, ran
from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime
from edge_tl.device.runtimes.openvino_config import compile_config

pytest.importorskip("openvino")


@pytest.mark.parametrize("device", ["AUTO", "auto", "AUTO:CPU", "HETERO:CPU"])
def test_what_chooses_devices_says_which_it_took(assets: Path, device: str) -> None:
    facts = ran(open_runtime(assets / "tiny.xml", device=device, threads=1)).to_json()
    assert (facts["device"], facts["threads"], facts["precision"]) == ("CPU", 1, "fp32")
    assert sum(facts["layers"].values()) == sum(facts["kernels"].values()) == 2


def test_threads_that_share_a_runtime_each_get_their_own_answer(assets: Path) -> None:
    runtime = OpenVinoRuntime(assets / "tiny.xml", threads=1)
    generator = np.random.default_rng(0)
    inputs = [
        generator.normal(size=(1, *[side or 1 for side in runtime.shape[1:]])).astype(np.float32)
        for _ in range(4)
    ]
    expected = [runtime(each) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: runtime(inputs[i % 4]), range(400)))
    assert all(np.array_equal(answer, expected[i % 4]) for i, answer in enumerate(got))


def test_layers_and_kernels(assets: Path) -> None:
    facts = ran(open_runtime(assets / "tiny.xml")).to_json()
    assert facts["layers"] == {"fp32": 2}
    assert sum(facts["kernels"].values()) == 2
    assert facts["precision_hint"] == "f32"
    assert "isa_cap" not in facts or os.environ.get("ONEDNN_MAX_CPU_ISA")
    assert ran(open_runtime(assets / "tiny.int8.xml")).layers == {"int8": 2}


@pytest.mark.skipif("avx2" not in isa_flags(), reason="there is nothing to cap")
def test_a_cap_on_the_instruction_set_is_on_record_and_shows_in_the_kernels(assets: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime, ran\n"
        "print(json.dumps(ran(open_runtime(Path(sys.argv[1]))).to_json()))"
    )

    def kernels(**more: str) -> dict[str, Any]:
        plain = {key: value for key, value in os.environ.items() if not key.endswith("_MAX_CPU_ISA")}
        command = [sys.executable, "-c", code, str(assets / "tiny.xml")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain | more)
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    free, capped = kernels(), kernels(ONEDNN_MAX_CPU_ISA="SSE41")
    assert "isa_cap" not in free
    assert any("avx" in name for name in free["kernels"])
    assert capped["isa_cap"] == "SSE41"
    assert not any("avx" in name for name in capped["kernels"]), capped["kernels"]


def test_another_device_than_asked_is_refused(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO does so only through AUTO; the check is for the day it does."""
    monkeypatch.setattr(OpenVinoRuntime, "device", "GPU.0")
    with pytest.raises(FellBack, match=r"--device CPU: OpenVINO ran it on GPU\.0"):
        ran(open_runtime(assets / "tiny.xml"))
    facts = ran(open_runtime(assets / "tiny.xml", allow_fallback=True)).to_json()
    assert facts["fallback"] == {"asked": "CPU", "ran": {"GPU.0": 1}, "why": "OpenVINO ran it on GPU.0"}


@pytest.mark.parametrize(("asked", "did"), [("GPU", "GPU.0"), ("GPU.1", "GPU.1"), ("NPU", "NPU")])
def test_a_device_with_a_number_is_that_device(asked: str, did: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoRuntime, "device", did)
    runtime = OpenVinoRuntime.__new__(OpenVinoRuntime)
    runtime._asked, runtime._fallback, runtime._allow_fallback, runtime._shape = asked, None, False, []
    monkeypatch.setattr(OpenVinoRuntime, "__call__", lambda self, inputs: inputs)
    runtime.check()


def test_a_gpu_that_misses_its_library_says_so(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = (
        'Exception from core.cpp:117:\nCannot load library "/x/libopenvino_intel_gpu_plugin.so": '
        "libOpenCL.so.1: cannot open shared object file: No such file or directory\n"
    )

    def get_property(device: str, name: str) -> str:
        raise RuntimeError(message)

    core = SimpleNamespace(available_devices=["CPU"], get_property=get_property)
    monkeypatch.setattr(room, "openvino_core", lambda: core)
    with pytest.raises(BadInput, match=r"--device gpu: .*its GPU plugin misses libOpenCL\.so\.1\. Install"):
        open_runtime(assets / "tiny.xml", device="gpu")


class Gpu:
    """The properties of a device, as `settings` asks for them."""

    def __init__(self, *able: str) -> None:
        self.able = able

    def get_property(self, device: str, name: str) -> tuple[str, ...]:
        assert name == "OPTIMIZATION_CAPABILITIES"
        return self.able


@pytest.mark.parametrize(
    ("device", "able", "half", "hint"),
    [
        ("GPU", ("FP32", "FP16"), True, "f16"),
        ("GPU", ("FP32", "FP16"), False, "f32"),
        ("CPU", ("FP32", "FP16"), True, "f32"),
        ("NPU", ("INT8",), False, None),
        ("NPU", ("FP16", "INT8"), True, "f16"),
        ("AUTO:GPU,CPU", (), True, "f32"),
    ],
)
def test_a_call_at_a_time_and_streams_are_asked_for_the_same_precision(
    device: str, able: tuple[str, ...], half: bool, hint: str | None
) -> None:
    found = [
        compile_config(Gpu(*able), device, 2, half=half, hint=kind) for kind in ("LATENCY", "THROUGHPUT")
    ]
    assert [one.pop("PERFORMANCE_HINT") for one in found] == ["LATENCY", "THROUGHPUT"]
    assert found[0] == found[1]
    assert found[0].get("INFERENCE_PRECISION_HINT") == hint


@pytest.mark.parametrize(("threads", "pinned"), [(1, False), (2, None)])
def test_models_of_one_thread_are_not_all_kept_on_one_core(threads: int, pinned: bool | None) -> None:
    found = compile_config(Gpu("FP32"), "CPU", threads, half=False, hint="LATENCY")
    assert found.get("ENABLE_CPU_PINNING") is pinned


def test_streams_are_of_the_model_that_was_opened(assets: Path) -> None:
    runtime = OpenVinoRuntime(assets / "tiny.xml", device="cpu", threads=1, hint="THROUGHPUT")
    for batch in (1, 3):
        queue, counts = runtime.streams(batch)
        queue.start_async([np.zeros((batch, 3, 16, 16), np.float32)])
        queue.wait_all()
        assert counts["requests"] == len(queue) >= counts["streams"] >= 1
    assert ran(runtime).precision_hint == "f32"


def test_why_a_file_does_not_load_is_one_sentence_without_folders(tmp_path: Path) -> None:
    (tmp_path / "broken.xml").write_bytes(b"garbage")
    with pytest.raises(BundleError) as caught:
        open_runtime(tmp_path / "broken.xml")
    said = str(caught.value)
    assert "cannot load broken.xml: " in said
    assert ".cpp:" not in said
    assert str(tmp_path) not in said


def test_one_image_and_many_are_the_same_numbers_from_a_model_of_known_and_of_any_size(assets: Path) -> None:
    runtime = open_runtime(assets / "tiny.xml", threads=1)
    assert isinstance(runtime, OpenVinoRuntime)
    assert runtime._compiled.input(0).partial_shape.is_static
    assert runtime._many is None  # most applications never ask
    images = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)
    many = runtime(images)
    ones = np.concatenate([runtime(images[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(ones, many, rtol=1e-5, atol=1e-5)
    assert runtime(images[:2]).shape == (2, 3)
