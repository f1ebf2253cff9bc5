"""The seam: both runtimes answer alike, fail with the same sentence and say what really ran."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.errors import BadInput, BundleError, MissingExtra
from edge_tl.device.machine import cores_allowed
from edge_tl.device.runtimes.open import NullRuntime, open_runtime, ran

MODELS = ["tiny.onnx", "tiny.xml", "tiny.int8.onnx", "tiny.int8.xml"]
BOTH = ["tiny.onnx", "tiny.xml"]


@pytest.fixture
def inputs() -> np.ndarray:
    """Flat colours with noise: the model answers each class."""
    rng = np.random.default_rng(3)
    return (rng.uniform(-2, 2, (24, 3, 1, 1)) + rng.normal(0, 0.4, (24, 3, 16, 16))).astype(np.float32)


@pytest.mark.parametrize("weights", ["tiny", "other"])
def test_onnxruntime_and_openvino_agree(assets: Path, inputs: np.ndarray, weights: str) -> None:
    onnx, openvino = (open_runtime(assets / f"{weights}.{kind}")(inputs) for kind in ("onnx", "xml"))
    assert onnx.shape == openvino.shape == (24, 3)
    assert onnx.dtype == openvino.dtype == np.float32
    assert np.abs(onnx - openvino).max() < 1e-4
    assert set(onnx.argmax(axis=1)) == {0, 1, 2}, "a model that always says the same proves nothing"


def test_the_models_are_what_the_file_says(assets: Path, inputs: np.ndarray) -> None:
    """The convolution, ReLU, pool and Gemm of `make_tiny.py` in numpy, from the weights in the file."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(assets / "tiny.onnx")).graph
    weight = {i.name: onnx.numpy_helper.to_array(i).astype(np.float64) for i in graph.initializer}
    padded = np.pad(inputs.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    conv = np.einsum("nchwij,ocij->nohw", windows, weight["conv_w"]) + weight["conv_b"][:, None, None]
    expected = np.maximum(conv, 0).mean(axis=(2, 3)) @ weight["gemm_w"] + weight["gemm_b"]
    for name in BOTH:
        assert np.abs(open_runtime(assets / name)(inputs) - expected).max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_batches_strides_and_empty_batches(assets: Path, inputs: np.ndarray, name: str) -> None:
    runtime = open_runtime(assets / name)
    whole = runtime(inputs)
    one_by_one = np.concatenate([runtime(inputs[i : i + 1]) for i in range(len(inputs))])
    assert np.abs(whole - one_by_one).max() < 1e-4
    assert np.array_equal(runtime(inputs[::2]), runtime(inputs[::2].copy()))
    turned = np.ascontiguousarray(inputs.swapaxes(2, 3)).swapaxes(2, 3)
    assert not turned.flags.c_contiguous
    assert np.array_equal(runtime(turned), whole)
    assert runtime(inputs[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_outlives_the_next_call(assets: Path, inputs: np.ndarray, name: str) -> None:
    runtime = open_runtime(assets / name)
    first = runtime(inputs[:1])
    kept = first.copy()
    before = inputs.copy()
    runtime(inputs[1:2])
    assert np.array_equal(first, kept)
    assert np.array_equal(inputs, before)


@pytest.mark.parametrize("name", MODELS)
def test_what_an_array_holds_now_is_what_is_answered(assets: Path, inputs: np.ndarray, name: str) -> None:
    """OpenVINO reads from the caller's array itself: filled anew it is a new image, and so are one of another
    process (read-only) and one in pieces, before and after each other."""
    runtime = open_runtime(assets / name)
    wanted = [runtime(inputs[i : i + 1].copy()) for i in range(2)]
    buffer = np.empty_like(inputs[:1])
    frozen = [inputs[i : i + 1].copy() for i in range(2)]
    for array in frozen:
        array.setflags(write=False)
    pieces = np.repeat(buffer, 2, axis=3)[..., ::2]
    for number in (0, 1, 0):
        for array in (buffer, pieces):
            array[:] = inputs[number]
            assert np.array_equal(runtime(array), wanted[number])
        assert np.array_equal(runtime(frozen[number]), wanted[number])
        assert np.array_equal(runtime(buffer), wanted[number])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3, 16, 16), np.float64),
        np.zeros((1, 3, 16, 16), np.uint8),
        np.zeros((1, 3, 16, 16), ">f4"),
        np.zeros((3, 16, 16), np.float32),
        np.zeros((1, 1, 16, 16), np.float32),
        np.zeros((1, 3, 17, 16), np.float32),
        np.zeros((1, 16, 16, 3), np.float32),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_a_wrong_input_fails_with_one_sentence(assets: Path, wrong: np.ndarray) -> None:
    sentences = set()
    for name in MODELS:
        with pytest.raises(BadInput) as caught:
            open_runtime(assets / name)(wrong)
        sentences.add(str(caught.value))
    assert sentences == {f"model input: {wrong.dtype} {wrong.shape}. Give float32 nx3x16x16."}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("device", ["TPU9000", "GPU0", "CPU.1", ""])
def test_an_unknown_device_is_refused_with_what_there_is(assets: Path, name: str, device: str) -> None:
    with pytest.raises(BadInput, match=r"--device .*CPU.* Choose one of these") as caught:
        open_runtime(assets / name, device=device)
    assert device in str(caught.value)
    assert not isinstance(caught.value, BundleError)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"<?xml version='1.0'?><net/>", b"\x08\x07\x12"])
def test_garbage_is_a_bundle_error_that_says_why(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"cannot load broken{suffix}") as caught:
        open_runtime(path)
    why = str(caught.value).partition(f"broken{suffix}")[2].strip(" :.")
    assert len(why) > 10, f"no reason in {str(caught.value)!r}"


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_missing_file_is_a_bundle_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BundleError, match="cannot load none"):
        open_runtime(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("weights", [None, 100])
def test_an_ir_without_its_weights_is_a_bundle_error(
    assets: Path, tmp_path: Path, weights: int | None
) -> None:
    shutil.copy(assets / "tiny.xml", tmp_path)
    if weights:
        (tmp_path / "tiny.bin").write_bytes((assets / "tiny.bin").read_bytes()[:weights])
    with pytest.raises(BundleError, match=r"cannot load tiny\.xml"):
        open_runtime(tmp_path / "tiny.xml")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no runtime for 'model\.pt'"):
        open_runtime(tmp_path / "model.pt")


@pytest.mark.parametrize("name", MODELS)
def test_what_ran(assets: Path, name: str) -> None:
    described = ran(open_runtime(assets / name, threads=1)).to_json()
    library = sys.modules["onnxruntime" if name.endswith(".onnx") else "openvino"]
    version = library.__version__.split("-")[0]
    assert described["runtime"] == f"{library.__name__} {version}"
    assert described["device"] == "CPU"
    assert described["threads"] == 1
    assert described["precision"] == ("int8" if "int8" in name else "fp32")
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
@pytest.mark.parametrize("device", ["cpu", "Cpu"])
def test_a_device_is_found_in_any_case(assets: Path, name: str, device: str) -> None:
    assert open_runtime(assets / name, device=device).device == "CPU"


@pytest.mark.parametrize("name", BOTH)
def test_threads_are_the_allowed_cores(assets: Path, name: str) -> None:
    assert open_runtime(assets / name).threads == cores_allowed()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
@pytest.mark.parametrize("name", BOTH)
def test_an_affinity_mask_is_the_number_of_threads(assets: Path, name: str) -> None:
    """As `taskset` sets it, or a container's cpuset: before the process starts."""
    code = (
        "import json, sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime, ran\n"
        "print(json.dumps(ran(open_runtime(Path(sys.argv[1]))).to_json()))"
    )
    one = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", code, str(assets / name)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
    )
    assert json.loads(done.stdout)["threads"] == 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts Linux's threads")
def test_onnxruntime_starts_the_threads_it_reports(assets: Path) -> None:
    """A pool of n threads is the caller and n - 1 others."""
    code = (
        "import os, sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "first = open_runtime(Path(sys.argv[1]), threads=1); before = count()\n"
        "second = open_runtime(Path(sys.argv[1]), threads=4)\n"
        "print(count() - before, second.threads)"
    )
    command = [sys.executable, "-c", code, str(assets / "tiny.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "4"]


def test_describing_leaves_no_profile_behind(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran(open_runtime(assets / "tiny.onnx"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("tiny.onnx", "onnxruntime", "ort"), ("tiny.xml", "openvino", "openvino")]
)
def test_a_missing_runtime_says_what_to_install(
    assets: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf'pip install "edge-tl\[{extra}\]"') as caught:
        open_runtime(assets / name)
    assert caught.value.extra == extra


def test_null_runtime(inputs: np.ndarray) -> None:
    null = NullRuntime(5)
    assert np.array_equal(null(inputs), np.zeros((24, 5), np.float32))
    assert ran(null).to_json() == {"runtime": "null 0", "device": "none", "precision": "none", "threads": 0}
