"""Calls of one model at the same time, each on a core of its own: what many images are classified with.

One call on all cores waits at the end of every layer for its slowest thread, and its threads spin meanwhile, beside
those that decode. A call a core has neither: benchmarks/predict_throughput.py measures both. Decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.runtimes.base import Logits, Runtime, check_input

if TYPE_CHECKING:
    from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime

Call = Callable[[NDArray[np.float32]], Logits]
_COPIES = 8  # more take memory, and long to compile


class CallPool:
    """Runs an input by the next of its `calls` that is free: for several threads, which wait while none is."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._free: SimpleQueue[Call] = SimpleQueue()
        for call in calls:
            self._free.put(call)

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        call = self._free.get()
        try:
            return call(inputs)
        finally:
            self._free.put(call)


def open_parallel(path: Path, runtime: Runtime, count: int, *, streams: bool = False) -> CallPool | None:
    """The file at `path` for `count` cores; `runtime` is it, opened. None where it does not run on the CPU alone:
    another device likes batches. `streams` has OpenVINO run in threads of its own: beside an event loop, which copies
    in the callers' threads keep waiting (benchmarks/serve_load.py: a third fewer answers)."""
    if runtime.device != "CPU":
        return None
    if path.suffix == ".onnx":
        from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime

        return CallPool([OnnxRuntime(path, threads=1)] * count)  # several threads may run a session
    from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime

    if streams or count > _COPIES:
        whole = OpenVinoRuntime(path, threads=count, hint="THROUGHPUT")
        _, counts = whole.streams(1)
        return CallPool([_request_call(whole) for _ in range(counts["requests"])])
    # Each runs in the thread that calls it, which waits for no other to wake up.
    with ThreadPoolExecutor(count) as pool:
        copies = list(pool.map(lambda _: OpenVinoRuntime(path, threads=1), range(count)))
    return CallPool([_request_call(copy) for copy in copies])


def _request_call(runtime: OpenVinoRuntime) -> Call:
    """By a request of its own."""
    request = runtime.new_request()

    def call(inputs: NDArray[np.float32]) -> Logits:
        check_input(inputs, runtime.shape, takes_pixels=runtime.takes_pixels)
        return np.array(request.infer([inputs], share_inputs=True)[0])

    return call
