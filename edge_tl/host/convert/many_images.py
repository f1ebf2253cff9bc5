"""A model file's logits of many images, as fast as this machine's cores give them. Times nothing.

Each image is a call of its own, as on the device, and as many run at once as there are cores: a batch shared by all
cores moves activations that no longer fit into their caches (benchmarks/export_stages.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device.machine import cores_allowed
from edge_tl.device.runtimes.families import BY_SUFFIX
from edge_tl.device.runtimes.open import Logits, open_runtime
from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime

ManyImages = Callable[[Logits], Logits]
"""Takes float32 `(n, 3, H, W)`, which may be mapped from a file, to float32 `(n, classes)`."""

_AT_ONCE = 64  # images that are read ahead


def open_many(path: Path) -> ManyImages:
    """The model at `path` (`.onnx` or `.xml`) on the CPU. Raises `BundleError` for a file that cannot be loaded,
    `MissingExtra` where its runtime is not installed."""
    threads = cores_allowed()
    if BY_SUFFIX[path.suffix].name == "openvino":
        infer = one_each(OpenVinoRuntime(path, threads=threads, hint="THROUGHPUT"))
    else:
        infer = _threaded(path, threads)

    def logits(inputs: Logits) -> Logits:
        parts = range(0, len(inputs), _AT_ONCE)
        # Copies: a mapped array is read here, and OpenVINO shares no memory that it may not write to.
        return np.concatenate([infer(np.array(inputs[i : i + _AT_ONCE])) for i in parts])

    return logits


def _threaded(path: Path, threads: int) -> ManyImages:
    """A session of one thread, called from as many as there are cores: it may be shared."""
    runtime = open_runtime(path, threads=1)

    def infer(inputs: Logits) -> Logits:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda i: runtime(inputs[i : i + 1]), range(len(inputs)))))

    return infer


def one_each(runtime: OpenVinoRuntime) -> ManyImages:
    """As many requests of one image at once as `runtime` asks for: no row depends on what else is given."""
    queue, _ = runtime.streams(1)
    found: dict[int, Logits] = {}

    def keep(request: Any, number: int) -> None:
        found[number] = request.get_output_tensor(0).data.copy()

    queue.set_callback(keep)

    def infer(inputs: Logits) -> Logits:
        found.clear()
        for number in range(len(inputs)):
            queue.start_async({0: inputs[number : number + 1]}, number, share_inputs=True)
        queue.wait_all()
        return np.concatenate([found[number] for number in range(len(inputs))])

    return infer
