"""The PyTorch model in the shape of a `Runtime`: what every artifact is compared with, in answers and in time.

It must not train. Run as a module it is the PyTorch side of `bench`: blocks timed on request in a fresh process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.target.machine import cores_allowed
from edge_tl.target.runtime import Logits
from edge_tl.target.timing.child import serve


class TorchRuntime:
    """Eager PyTorch in evaluation mode; float32 unless `autocast` (GPU feature extraction). Logits are divided by
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
        if device == "cuda":
            self._model = self._model.to(memory_format=torch.channels_last)
        self._device, self._autocast = device, autocast
        self.device = "CPU" if device == "cpu" else torch.cuda.get_device_name()
        self.precision = "bf16" if autocast else "fp32"

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._autocast):
            images = torch.from_numpy(inputs).to(self._device)
            result: Logits = self._model(images).float().cpu().numpy()
        return result if self.temperature == 1.0 else result / np.float32(self.temperature)


def main() -> None:
    """Blocks timed on request, as `edge_tl.target.timing.child` does it for the artifacts."""
    from edge_tl.host import checkpoint, zoo

    spec = json.loads(sys.argv[1])

    def open_it() -> TorchRuntime:
        model = (
            checkpoint.load(Path(spec["run"]))[0]
            if spec["run"]
            else zoo.build(spec["model"], spec["classes"], pooled=spec["pooled"], hidden=spec["hidden"])
        )
        return TorchRuntime(model, threads=spec["threads"])

    serve(open_it, spec, weights="the run's" if spec["run"] else "architecture only")


if __name__ == "__main__":
    main()
