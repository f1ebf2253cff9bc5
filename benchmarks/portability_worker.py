"""Models' logits in the process, and on the CPU, that this is started on; needs what a device has.

    python portability_worker.py INPUTS.npy COUNT MODEL OUT.npz HOW [MODEL OUT.npz HOW ...]

A MODEL is opened as edge-tl opens it (HOW is "edge-tl"), or as whoever reads the file with ONNX Runtime's defaults does
("plain"). OUT gets the logits of the first COUNT images and, as JSON, what was seen of the CPU and what computed the
layers, or the reason where it failed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device import machine
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime
from edge_tl.device.runtimes.open import open_runtime, ran

BATCH = 16


def main() -> None:
    images = np.load(sys.argv[1], mmap_mode="r")[: int(sys.argv[2])]
    for model, out, how in zip(*(sys.argv[3 + i :: 3] for i in range(3)), strict=True):
        try:
            logits, facts = answers(Path(model), images, how)
        except Exception as error:  # a runtime's own errors have no common type; it is a result
            logits, facts = np.zeros((0, 0)), {"fault": f"{type(error).__name__}: {error}"}
        np.savez(out, logits=logits, facts=json.dumps(facts))


def answers(path: Path, images: Any, how: str) -> tuple[Any, dict[str, Any]]:
    """Logits `(n, classes)` of the model, and what is kept beside them."""
    facts: dict[str, Any] = {
        "flags": list(machine.isa_flags()),
        "version": machine.installed("onnxruntime" if path.suffix == ".onnx" else "openvino"),
    }
    if how == "plain":
        run = plain(path)
    else:
        run = runtime = open_runtime(path)
        facts["computed_by"] = computed_by(runtime)
    batches = [run(np.ascontiguousarray(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
    return np.concatenate(batches), facts


def plain(path: Path) -> Callable[[Any], Any]:
    """ONNX Runtime without any option of ours."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def computed_by(runtime: Any) -> dict[str, int]:
    """oneDNN's kernels by their names, or ONNX Runtime's operators: it does not name its kernels."""
    if isinstance(runtime, OnnxRuntime):
        return dict(Counter(node.operator for node in runtime._nodes))
    return ran(runtime).kernels or {}


if __name__ == "__main__":
    main()
