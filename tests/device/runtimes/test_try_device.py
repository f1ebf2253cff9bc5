"""A device is tried in a process of its own, with a model that both runtimes read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.runtimes import openvino_, try_device
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime

RUNTIMES = ["onnxruntime", "openvino"]


def test_the_model_is_what_the_comment_says() -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "t",
        [helper.make_tensor_value_info("x", 1, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("y", 1, [1, 1, 2, 2])],
        [weights],
    )
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=7, producer_name="")
    assert model.SerializeToString() == try_device.MODEL
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_cpu_works(runtime: str) -> None:
    pytest.importorskip(runtime)
    assert try_device.try_device(runtime, "CPU").to_json() == {"name": "CPU", "works": True, "reason": None}


def test_a_provider_that_runs_nothing_does_not_work() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no such provider")
    result = try_device.try_device("onnxruntime", "Azure")
    assert result.to_json() == {"name": "Azure", "works": False, "reason": "every node ran on CPU"}


def test_a_wrong_answer_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(OnnxRuntime, "__call__", lambda self, inputs: inputs[:, :1] * 0)
    reason = try_device.trial_fault("onnxruntime", "CPU")
    assert reason is not None
    assert reason.startswith("it computes wrongly: off by ")


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A Python that does `body` instead of the trial."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_a_driver_that_ends_the_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(
        tmp_path,
        monkeypatch,
        "sys.stderr.write('x: libcudnn.so.9: cannot open shared object file\\n'); os.abort()",
    )
    result = try_device.try_device("onnxruntime", "CUDA")
    assert result.works is False
    assert result.reason == "it ended the process (exit code -6); libcudnn.so.9 is missing"


def test_a_driver_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_device, "SECONDS", 1.0)
    fake(tmp_path, monkeypatch, "time.sleep(60)")
    assert try_device.try_device("openvino", "NPU").reason == "no answer in 1 s"


def test_a_reason_tells_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(
            'cannot load "/home/b0b/my venv/lib/plugin.so": /opt/b0b/libx.so.1:\n no such file'
        )

    monkeypatch.setattr(openvino_, "OpenVinoRuntime", refuse)
    reason = try_device.trial_fault("openvino", "GPU")
    assert reason is not None
    assert "b0b" not in reason
    assert "plugin.so" in reason
    assert "\n" not in reason


def test_it_prints_one_object_whatever_a_library_prints() -> None:
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-m", "edge_tl.device.runtimes.try_device", "onnxruntime", "CPU"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout.splitlines()[-1] == '{"reason": null}'
