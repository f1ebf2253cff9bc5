"""The PyTorch model in the shape of a `Runtime`: what every artifact is compared with, in answers and in time.

Trains nothing. Run as a module it is the PyTorch side of `bench`: blocks timed on request in a fresh process, on the
CPU or on an NVIDIA GPU, there eager or as a CUDA graph. A call's time holds both copies, and it ends when the answer is
back in memory, so the GPU is waited for; `gpu_ms` in what ran is the network alone, by CUDA events.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.bench.worker import serve
from edge_tl.device.errors import BadInput
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.timing import RanRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host import accelerator
from edge_tl.host.models.parallel_forward import forward

CUDA_MODES = ("cuda", "cuda-graph")
_GPU_CALLS = 100


class TorchRuntime:
    """Eager PyTorch in evaluation mode; float32, or bfloat16 with `autocast` (feature extraction on GPUs that have it).
    Logits are divided by
    `temperature`."""

    name = "pytorch"

    def __init__(
        self, model: nn.Module, *, device: str = "cpu", threads: int | None = None, autocast: bool = False
    ) -> None:
        self.version = str(torch.__version__)
        self.temperature = 1.0
        self.threads = threads or cores_allowed()
        torch.set_num_threads(self.threads)
        self.model = model
        self._model = model.eval().to(device)
        if device != "cpu":
            self._model = self._model.to(memory_format=torch.channels_last)
            accelerator.exact(torch.device(device))
        self._device, self._autocast = device, autocast
        self.device = accelerator.name(torch.device(device))
        self.precision = "bf16" if autocast else "fp32"

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        many = self._device == "cpu" and not self._autocast and len(inputs) > 1
        result = forward(self._model, inputs, self.threads) if many else self._answers(inputs)
        return result if self.temperature == 1.0 else result / np.float32(self.temperature)

    def _answers(self, inputs: NDArray[np.float32]) -> Logits:
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._autocast):
            images = torch.from_numpy(inputs).to(self._device)
            result: Logits = self.infer(images).float().cpu().numpy()
        return result

    def infer(self, images: torch.Tensor) -> torch.Tensor:
        """The network alone, on images that are where it computes."""
        logits: torch.Tensor = self._model(images)
        return logits


class CudaGraphRuntime(TorchRuntime):
    """The same network captured once and replayed for inputs of one shape: eager PyTorch without its launches.

    After PyTorch's notes on CUDA graphs: a few runs on a side stream first, then the capture.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...], *, threads: int | None = None) -> None:
        super().__init__(model, device="cuda", threads=threads)
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            self._images = torch.zeros(shape, device="cuda")
            aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    self._model(self._images)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self._graph):
                self._logits = self._model(self._images)

    def infer(self, images: torch.Tensor) -> torch.Tensor:
        self._images.copy_(images)
        self._graph.replay()
        logits: torch.Tensor = self._logits
        return logits


def cuda_is_available() -> bool:
    """Whether PyTorch can compute on an NVIDIA GPU here."""
    return torch.cuda.is_available()


def time_on_gpu(runtime: TorchRuntime, shape: tuple[int, ...], count: int) -> float:
    """The network's median time in milliseconds by CUDA events, without copies from and to the computer's memory."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    took = []
    with torch.inference_mode():
        images = torch.zeros(shape, device="cuda")
        for _ in range(count):
            start.record()
            runtime.infer(images)
            end.record()
            end.synchronize()
            took.append(start.elapsed_time(end))
    return float(np.median(took))


def _opened(model: nn.Module, mode: str, shape: tuple[int, ...], threads: int) -> TorchRuntime:
    """On the CPU, or in one of `CUDA_MODES`. Raises `BadInput` where PyTorch sees no GPU."""
    if mode == "cpu":
        return TorchRuntime(model, threads=threads)
    if not cuda_is_available():
        raise BadInput(
            f"no CUDA device: PyTorch {torch.__version__} sees none. Install its build for CUDA, or leave --device out."
        )
    # Both sides of a comparison search for the fastest convolution, as ONNX Runtime does.
    torch.backends.cudnn.benchmark = True
    if mode == "cuda-graph":
        return CudaGraphRuntime(model, shape, threads=threads)
    return TorchRuntime(model, device="cuda", threads=threads)


def main() -> None:
    """Blocks timed on request, as `edge_tl.device.bench.worker` does it for the artifacts."""
    from edge_tl.host.models import architecture
    from edge_tl.host.models.five_crop import FiveCropMean
    from edge_tl.host.runs import checkpoint

    spec = json.loads(sys.argv[1])
    mode, shape = spec.get("device", "cpu"), tuple(spec["shape"])

    def open_it() -> TorchRuntime:
        model = (
            checkpoint.load_run(Path(spec["run"]))[0]
            if spec["run"]
            else architecture.build(
                spec["model"], spec["classes"], pooled=spec["pooled"], hidden=spec["hidden"]
            )
        )
        if spec.get("five_crop") and not spec["run"]:  # which `load_run` has put around it
            model = FiveCropMean(model, shape[2:], tuple(spec["five_crop"]))
        return _opened(model, mode, shape, spec["threads"])

    def describe(runtime: Any, what: RanRecord) -> RanRecord:
        weights = "the run's" if spec["run"] else "architecture only"
        on_gpu = time_on_gpu(runtime, shape, _GPU_CALLS) if mode in CUDA_MODES else None
        return replace(what, weights=weights, gpu_ms=on_gpu)

    serve(open_it, spec, describe)


if __name__ == "__main__":
    main()
