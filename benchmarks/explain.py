"""What a second output for heat maps costs a call: the reason why no artifact has one, and predict --explain adds it.

    python benchmarks/explain.py BUNDLE

Each artifact is opened three ways in one process and the ways are timed in turn, a call of one image each: as shipped;
with the output added and only the logits asked for (OpenVINO computes all outputs, whoever asks); with both asked for.
The result goes to benchmarks/results/explain.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge_tl.device.bundle import read_bundle
from edge_tl.device.explain.onnx_positions import GRID, POSITIONS, with_positions
from edge_tl.device.explain.openvino_positions import split_at_pooling
from edge_tl.device.files import write_json
from edge_tl.device.machine import cores_allowed, identity, openvino_core
from edge_tl.device.runtimes.onnxruntime_ import cpu_options
from edge_tl.device.runtimes.openvino_config import compile_config

RESULT = Path(__file__).resolve().parent / "results" / "explain.json"
CALLS, WARM_UP, AT_ONCE = 400, 40, 5
Call = Callable[[], Any]


def onnx_ways(path: Path, image: NDArray[np.float32]) -> dict[str, Call]:
    """A session for each way."""
    found = with_positions(path.read_bytes())
    assert found is not None
    content, logits = found

    def ask(content: bytes, outputs: list[str]) -> Call:
        options = cpu_options(path, cores_allowed())
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(outputs, {name: image})

    return {
        "as shipped": ask(path.read_bytes(), [logits]),
        "added, logits asked": ask(content, [logits]),
        "added, both asked": ask(content, [logits, POSITIONS, GRID]),
    }


def openvino_ways(path: Path, image: NDArray[np.float32]) -> dict[str, Call]:
    """A compiled model for each way; the map needs its head besides."""
    core = openvino_core()
    how = compile_config(core, "CPU", cores_allowed(), half=False, hint="LATENCY")
    parts = split_at_pooling(core.read_model(path))
    assert parts is not None

    def compiled(model: Any) -> Any:
        model.reshape([1, *image.shape[1:]])
        return core.compile_model(model, "CPU", how).create_infer_request()

    plain, added = compiled(core.read_model(path)), compiled(parts[0])
    head = core.compile_model(parts[1], "CPU", how).create_infer_request()
    flat = len(parts[1].input(0).partial_shape) == 2

    def both() -> Any:
        features = added.infer([image], share_inputs=True)[1][0]
        each = np.ascontiguousarray(features.reshape(len(features), -1).T)
        return head.infer([each if flat else each[:, :, None, None]])

    return {
        "as shipped": lambda: plain.infer([image], share_inputs=True),
        "added, logits asked": lambda: added.infer([image], share_inputs=True),
        "added, both asked": both,
    }


def timed(ways: dict[str, Call]) -> dict[str, list[float]]:
    """Milliseconds of `CALLS` calls of every way, `AT_ONCE` after another before the next way's turn."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range((CALLS + WARM_UP) // AT_ONCE):
        for name, call in ways.items():
            for _ in range(AT_ONCE):
                start = perf_counter_ns()
                call()
                if turn * AT_ONCE >= WARM_UP:
                    took[name].append((perf_counter_ns() - start) / 1e6)
    return took


def ratio(took: dict[str, list[float]], name: str) -> dict[str, Any]:
    """The ratio of medians to the shipped file's, with a 95 % bootstrap interval over turns."""
    base, own = (np.array(took[each]).reshape(-1, AT_ONCE) for each in ("as shipped", name))
    drawn = np.random.default_rng(0).integers(0, len(base), (1000, len(base)))
    ratios = [np.median(own[rows]) / np.median(base[rows]) for rows in drawn]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return {
        "p50_ms": round(float(np.median(own)), 4),
        "ratio": round(float(np.median(own) / np.median(base)), 4),
        "ratio_ci": [round(float(low), 4), round(float(high), 4)],
        "n": int(own.size),
    }


def main() -> None:
    """Time every artifact of a bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    image = bundle.golden_pixels()[:1]
    found = {}
    for artifact in bundle.artifacts:
        ways = onnx_ways if artifact.runtime == "onnxruntime" else openvino_ways
        took = timed(ways(artifact.path, image))
        found[artifact.id] = {name: ratio(took, name) for name in took}
        for name, row in found[artifact.id].items():
            print(
                f"{artifact.id:14} {name:20} {row['p50_ms']:7.3f} ms  x {row['ratio']:.3f} {row['ratio_ci']}"
            )
    write_json(
        options.out,
        {
            "what": "a call of one image with and without a second output for heat maps",
            "machine": identity().to_json(),
            "model": bundle.record.provenance.model,
            "input_size": list(bundle.preprocess.input_size),
            "classes": len(bundle.labels),
            "threads": cores_allowed(),
            "artifacts": found,
        },
    )


if __name__ == "__main__":
    main()
