"""PyTorch in the shape of a runtime: the model's own answers, and one timed block in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_tl.host import checkpoint, reference, zoo
from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import BadInput
from edge_tl.target.machine import cores_allowed
from edge_tl.target.runtime import ran


@pytest.fixture
def inputs() -> Any:
    return np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)


def test_the_logits_are_the_models_in_evaluation_mode(inputs: Any):
    model = zoo.build("mobilenet_v3_small", 4).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    runtime = reference.TorchRuntime(model)
    got = runtime(inputs)
    with torch.inference_mode():
        want = model.eval()(torch.from_numpy(inputs)).numpy()
    assert got.dtype == np.float32
    assert got.shape == (3, 4)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(runtime(inputs[:1]), got[:1], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_it_says_what_ran():
    facts = ran(reference.TorchRuntime(zoo.build("mobilenet_v3_small", 2), threads=1))
    assert facts == {
        "runtime": f"pytorch {torch.__version__}", "device": "CPU", "precision": "fp32", "threads": 1,
    }  # fmt: skip
    assert torch.get_num_threads() == 1
    assert reference.TorchRuntime(zoo.build("mobilenet_v3_small", 2)).threads == cores_allowed()


def spec(**changes: Any) -> str:
    plain = {
        "run": None, "model": "mobilenet_v3_small", "classes": 3, "pooled": True, "hidden": [], "shape": [1, 3, 64, 64],
        "threads": 1, "warmup": 1, "count": 3, "seconds": 20, "describe": True,
    }  # fmt: skip
    return json.dumps(plain | changes)


def test_a_timed_block_of_a_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    loaded: list[Path] = []
    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda path: loaded.append(path) or load(path))
    monkeypatch.setattr(sys, "argv", ["reference", spec(run=str(run))])
    reference.main()
    block = json.loads(capsys.readouterr().out)
    assert loaded == [run]
    assert len(block["samples_ns"]) == 3
    assert all(isinstance(ns, int) and ns > 0 for ns in block["samples_ns"])
    assert block["first_ns"] > 0 < block["load_ns"]
    assert block["ran"]["weights"] == "the run's"


def test_without_the_run_the_architecture_is_timed_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "edge_tl.host.reference", spec()],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    block = json.loads(done.stdout)
    assert len(block["samples_ns"]) == 3
    assert block["ran"]["weights"] == "architecture only"
    assert block["ran"]["threads"] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("mode", reference.CUDA_MODES)
def test_without_a_gpu_the_block_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["reference", spec(device=mode)])
    with pytest.raises(BadInput, match=r"no CUDA device: PyTorch .* sees none"):
        reference.main()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("mode", reference.CUDA_MODES)
def test_a_gpu_gives_the_cpus_answers_and_its_own_time(
    mode: str, inputs: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    model = zoo.build("mobilenet_v3_small", 4)
    want = reference.TorchRuntime(model)(inputs[:1])
    runtime = reference._opened(model, mode, (1, 3, 64, 64), 1)
    for _ in range(3):  # a replayed graph must take each call's input
        np.testing.assert_allclose(runtime(inputs[:1]), want, atol=1e-3 * max(1.0, float(abs(want).max())))
        runtime(inputs[1:2])
    monkeypatch.setattr(sys, "argv", ["reference", spec(device=mode)])
    reference.main()
    block = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert block["ran"]["gpu_ms"] > 0
    assert block["ran"]["device"] == torch.cuda.get_device_name()


def test_a_gpu_adds_contestants_for_a_device_that_is_one(run: Path, monkeypatch: pytest.MonkeyPatch):
    from edge_tl.host.bundling import pack

    record = {
        "labels": ["a", "b"],
        "preprocess": Preprocess(resize_size=(64, 64), crop=(64, 64)).to_json(),
        "provenance": {"model": "mobilenet_v3_small", "pooled": True},
    }

    def names(device: str) -> list[str]:
        return [contestant.id for contestant in pack.torch_contestants(run, record, device=device)]

    monkeypatch.setattr(pack, "cuda_at_hand", lambda: True)
    assert names("cuda") == names("TensorRT") == ["pytorch", "pytorch-cuda", "pytorch-cuda-graph"]
    assert names("CPU") == names("NPU") == ["pytorch"]
    monkeypatch.setattr(pack, "cuda_at_hand", lambda: False)
    assert names("CUDA") == ["pytorch"]
