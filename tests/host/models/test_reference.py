"""PyTorch in the shape of a runtime: the model's own answers, and one timed block in a process of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_tl.device.bench.worker_messages import Ready
from edge_tl.device.bench.workers import WorkerPool, Workload
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import BundleRecord, ProvenanceRecord
from edge_tl.device.runtimes.open import ran
from edge_tl.host.models import architecture, reference

STORED = Path(__file__).parents[2] / "records" / "bundle-of-version-2"


@pytest.fixture
def inputs() -> Any:
    return np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)


def test_the_logits_are_the_models_in_evaluation_mode(inputs: Any):
    model = architecture.build("mobilenet_v3_small", 4).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    runtime = reference.TorchRuntime(model)
    got = runtime(inputs)
    with torch.inference_mode():
        want = model.eval()(torch.from_numpy(inputs)).numpy()
    assert got.dtype == np.float32
    assert got.shape == (3, 4)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(runtime(inputs[:1]), got[:1], rtol=1e-4, atol=1e-5)
    many = np.concatenate([inputs, -inputs, 2 * inputs, inputs])  # computed a few at a time
    np.testing.assert_allclose(
        runtime(many)[[0, 1, 2, 9, 10, 11]], np.tile(got, (2, 1)), rtol=1e-4, atol=1e-5
    )
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_it_says_what_ran():
    facts = ran(reference.TorchRuntime(architecture.build("mobilenet_v3_small", 2), threads=1)).to_json()
    assert facts == {
        "runtime": f"pytorch {torch.__version__}", "device": "CPU", "precision": "fp32", "threads": 1,
    }  # fmt: skip
    assert torch.get_num_threads() == 1
    assert reference.TorchRuntime(architecture.build("mobilenet_v3_small", 2)).threads == cores_allowed()


def served(run: Path | None = None, **changes: Any) -> tuple[Ready, dict[str, Any]]:
    """What a process of its own says when it is warm, and a block of three calls."""
    spec = {
        "run": str(run) if run else None, "model": "mobilenet_v3_small", "classes": 3, "pooled": True, "hidden": [],
        "shape": [1, 3, 64, 64], "threads": 1,
    }  # fmt: skip
    with WorkerPool() as pool:
        workload = Workload("pytorch", "edge_tl.host.models.reference", spec | changes)
        ready = pool.start(workload, warmup=1, describe=True)
        return ready, pool.alive["pytorch"].ask(count=3, seconds=20)


def test_a_run_is_timed_with_its_own_weights_and_without_one_its_architecture(run: Path):
    for source, weights in ((run, "the run's"), (None, "architecture only")):
        ready, block = served(source)
        assert ready.ran is not None
        assert ready.ran.weights == weights
        assert ready.ran.threads == 1
        assert ready.first_ns > 0 < ready.load_ns
        assert len(block["samples_ns"]) == 3
        assert all(isinstance(ns, int) and ns > 0 for ns in block["samples_ns"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("mode", reference.CUDA_MODES)
def test_without_a_gpu_the_block_is_refused(mode: str):
    with pytest.raises(BadInput, match=r"no CUDA device: PyTorch .* sees none"):
        reference._opened(architecture.build("mobilenet_v3_small", 3), mode, (1, 3, 64, 64), 1)
    with pytest.raises(EdgeTLError, match="no CUDA device"):
        served(device=mode)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("mode", reference.CUDA_MODES)
def test_a_gpu_gives_the_cpus_answers_and_its_own_time(mode: str, inputs: Any):
    model = architecture.build("mobilenet_v3_small", 4)
    want = reference.TorchRuntime(model)(inputs[:1])
    runtime = reference._opened(model, mode, (1, 3, 64, 64), 1)
    for _ in range(3):  # a replayed graph must take each call's input
        np.testing.assert_allclose(runtime(inputs[:1]), want, atol=1e-3 * max(1.0, float(abs(want).max())))
        runtime(inputs[1:2])
    ready, _ = served(device=mode)
    assert ready.ran is not None
    assert ready.ran.gpu_ms is not None
    assert ready.ran.gpu_ms > 0
    assert ready.ran.device == torch.cuda.get_device_name()


def test_logits_are_divided_by_the_temperature(inputs: Any):
    runtime = reference.TorchRuntime(architecture.build("mobilenet_v3_small", 4))
    before = runtime(inputs)
    runtime.temperature = 2.0
    np.testing.assert_allclose(runtime(inputs), before / 2, rtol=1e-5, atol=1e-6)


def test_a_gpu_adds_contestants_for_a_device_that_is_one(run: Path, monkeypatch: pytest.MonkeyPatch):
    from edge_tl.host.export import pipeline

    stored = BundleRecord.from_json(json.loads((STORED / "bundle.json").read_text("utf-8")))
    record = replace(
        stored,
        labels=("a", "b"),
        preprocess=Preprocess(resize_size=(64, 64), crop=(64, 64)),
        provenance=ProvenanceRecord(model="mobilenet_v3_small", pooled=True),
    )

    def names(device: str) -> list[str]:
        return [workload.id for workload in pipeline.torch_workloads(run, record, device=device)]

    monkeypatch.setattr(pipeline, "cuda_is_available", lambda: True)
    assert names("cuda") == names("TensorRT") == ["pytorch", "pytorch-cuda", "pytorch-cuda-graph"]
    assert names("CPU") == names("NPU") == ["pytorch"]
    monkeypatch.setattr(pipeline, "cuda_is_available", lambda: False)
    assert names("CUDA") == ["pytorch"]
