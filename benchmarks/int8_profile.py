"""Where the time of INT8 and FP32 goes, operator by operator, in both runtimes, on one thread.

    python benchmarks/int8_profile.py [MODEL ...] [--files DIR]

Torchvision models with seeded random weights at 224 px (what an operator costs depends on its shape). The runtimes'
own profilers, one thread, the fastest 3 % of `CALLS` calls of each operator: on one core other work on the machine
lengthens some calls and not these. The sum of the operators is less than a call takes. Writes
results/int8_profile.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
from untrained import files

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, has_vnni, identity

RESULT = Path(__file__).parent / "results" / "int8_profile.json"
MODELS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0")
CALLS, WARMUP, QUANTILE = 150, 10, 0.03
Calls = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--files", type=Path, help="Where files go and stay; a temporary folder otherwise.")
    options = parser.parse_args()
    before, models = current_load().to_json(), []
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models:
            paths = files(model, (options.files or Path(scratch)) / model)
            models.append({"model": model, "artifacts": profiles(paths)})
    facts = {
        "vnni": has_vnni(),
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(RESULT, {"models": models, "calls": CALLS, "quantile": QUANTILE, "threads": 1} | facts)


def profiles(paths: dict[str, Path]) -> list[dict[str, Any]]:
    """One entry a file, what costs most first."""
    found = []
    for name, path in paths.items():
        kinds, times = onnx_runtime(path) if path.suffix == ".onnx" else open_vino(path)
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for key, calls in times.items():
            sums[kinds[key]] += float(np.quantile(calls[WARMUP:], QUANTILE)) / 1e3
            counts[kinds[key]] += 1
        ranked = sorted(sums, key=lambda kind: -sums[kind])
        rows = [{"operator": kind, "count": counts[kind], "ms": round(sums[kind], 4)} for kind in ranked]
        total = sum(sums.values())
        print(f"{path.parent.name} {name}: {total:.2f} ms in {len(times)} operators", flush=True)
        found.append({"id": name, "sum_ms": round(total, 4), "operators": rows})
    fastest = min(each["sum_ms"] for each in found if each["id"].endswith("fp32"))
    return [each | {"over": round(fastest / each["sum_ms"], 3)} for each in found]


def onnx_runtime(path: Path) -> tuple[dict[str, str], Calls]:
    """The operator of each node, and its times in microseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(path.with_suffix(".profile"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(CALLS):
        session.run(None, {session.get_inputs()[0].name: image()})
    kinds, times = {}, defaultdict(list)
    for event in json.loads(Path(session.end_profiling()).read_text()):
        kind = event.get("args", {}).get("op_name")
        if kind and event["name"].endswith("_kernel_time"):
            kinds[event["name"]] = kind
            times[event["name"]].append(float(event["dur"]))
    return kinds, times


def open_vino(path: Path) -> tuple[dict[str, str], Calls]:
    """As `onnx_runtime`; an operator's name has its kernel's behind it."""
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, 3, 224, 224])
    how = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": "YES", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(model, "CPU", how | {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    kinds, times = {}, defaultdict(list)
    for _ in range(CALLS):
        request.infer([image()])
        for node in request.profiling_info:
            if node.status == node.Status.EXECUTED:
                kinds[node.node_name] = f"{node.node_type} {node.exec_type}"
                times[node.node_name].append(node.real_time.total_seconds() * 1e6)
    return kinds, times


def image() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (1, 3, 224, 224)).astype(np.float32)


if __name__ == "__main__":
    main()
