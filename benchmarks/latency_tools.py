"""The timer's medians against the runtimes' own: OpenVINO's benchmark_app, and a bare loop of each.

    python benchmarks/latency_tools.py BUNDLE [--turns 50] [--calls 400]
    taskset -c 1 python benchmarks/latency_tools.py BUNDLE --out benchmarks/results/latency_tools_one_core.json

One interleaved run; in every turn each tool runs once, in a process of its own, beside a fresh one of the timer's: same
file, hint, precision and threads. While one of the two calls the model the other is stopped (SIGSTOP), and every
quarter of a second they change: a shared machine is another one two seconds later, and a call stopped half-way
moves no median. (benchmark_app counts what OpenVINO says a request took, without Python's call of it.) The result goes
to benchmarks/results/latency_tools.json (latency_tools_avx2.json is that of a CPU without VNNI). With a specification
it is a loop.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "latency_tools.json"
WARMUP = 20
SLICE_S = 0.25
BEGINS = "Measuring performance"  # benchmark_app's words
PAIRS = [
    ("onnx-fp32", "bare ONNX Runtime loop"),
    ("openvino-fp32", "bare OpenVINO loop"),
    ("openvino-fp32", "benchmark_app"),
]


def loop(spec: dict[str, Any]) -> None:
    """A runtime called back to back, by a loop that knows nothing of the package; prints as benchmark_app does."""
    import numpy

    images = numpy.random.default_rng(0).uniform(-2, 2, spec["shape"]).astype("float32")
    call = (onnx_runtime if spec["runtime"] == "onnx" else openvino)(spec, images)
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.3:
        call()
    print(BEGINS, flush=True)
    taken = []
    for _ in range(spec["calls"]):
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    print(f"Median: {numpy.median(taken) / 1e6:.4f} ms")


def onnx_runtime(spec: dict[str, Any], images: Any) -> Callable[[], object]:
    """As its documentation calls it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]
    session = onnxruntime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feed)


def openvino(spec: dict[str, Any], images: Any) -> Callable[[], object]:
    """As benchmark_app does: the input is there before."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(spec["path"])
    model.reshape(spec["shape"])
    how = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(
        model, "CPU", how | {"INFERENCE_NUM_THREADS": spec["threads"]}
    ).create_infer_request()
    request.get_input_tensor(0).data[:] = images
    return lambda: request.infer()


def benchmark_app(path: Path, shape: list[int], threads: int, calls: int, folder: Path) -> list[str]:
    """The command line of OpenVINO's own tool."""
    tool = shutil.which("benchmark_app", path=str(Path(sys.executable).parent)) or shutil.which(
        "benchmark_app"
    )
    if tool is None:
        raise SystemExit("no benchmark_app here: it comes with the openvino package")
    # It refuses -nthreads beside -hint, and takes the same from a file.
    config = folder / "config.json"
    config.write_text(json.dumps({"CPU": {"INFERENCE_NUM_THREADS": threads}}))
    size = f"[{','.join(map(str, shape))}]"
    command = [tool, "-m", str(path), "-d", "CPU", "-hint", "latency", "-infer_precision", "f32"]
    command += ["-api", "sync", "-ip", "f32", "-niter", str(calls), "-shape", size, "-data_shape", size]
    return [*command, "-load_config", str(config)]


def side_by_side(tool: list[str], ask: Callable[[], list[int]]) -> tuple[float, float]:
    """The median milliseconds that `ask` measured and those that the tool prints, each stopped while the other runs."""
    mine: list[int] = []
    process = subprocess.Popen(
        tool,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if BEGINS in line:
                break
        process.send_signal(signal.SIGSTOP)
        while process.poll() is None:
            mine += ask()
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(SLICE_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGSTOP)
        said += process.stdout.read()
    finally:
        process.kill()
        process.wait()
    found = re.search(r"Median:\s+([\d.]+) ms", said)
    if process.returncode or not found or not mine:
        raise SystemExit(f"{Path(tool[0]).name}: exit code {process.returncode}: {said[-500:]}")
    return sorted(mine)[len(mine) // 2] / 1e6, float(found[1])


def main() -> None:
    """Both pairs in turns, then ratios."""
    import numpy as np

    from edge_tl.device.bench import ratio
    from edge_tl.device.bench.harness import floor_us
    from edge_tl.device.bench.workers import WorkerPool, Workload
    from edge_tl.device.bench.workloads import workloads
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.files import write_json
    from edge_tl.device.machine import cores_allowed, current_load, identity

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--calls", type=int, default=400, help="of a tool, in a turn")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    shape, threads = [1, 3, *bundle.preprocess.input_size], cores_allowed()
    chosen = [bundle.artifact(name) for name in ("onnx-fp32", "openvino-fp32")]
    field = {c.id: c for c in workloads(bundle, chosen)}
    ran: dict[str, Any] = {}

    def turn(workload: Workload, tool: list[str]) -> tuple[float, float]:
        with WorkerPool() as pool:
            ready = pool.start(workload, warmup=WARMUP, describe=workload.id not in ran)
            if ready.ran:
                ran[workload.id] = ready.ran.to_json()
            count = max(1, round(SLICE_S * 1e9 / ready.call_ns))
            worker = pool.alive[workload.id]
            return side_by_side(tool, lambda: worker.ask(count=count, seconds=60)["samples_ns"])

    before, order = current_load().to_json(), random.Random(0)
    medians: dict[tuple[str, str], list[tuple[float, float]]] = {pair: [] for pair in PAIRS}
    with tempfile.TemporaryDirectory() as folder:
        files = {artifact.id: str(artifact.path) for artifact in chosen}
        spec = {"shape": shape, "threads": threads, "calls": options.calls}
        onnx = spec | {"path": files["onnx-fp32"], "runtime": "onnx"}
        ir = spec | {"path": files["openvino-fp32"], "runtime": "openvino"}
        tools = {
            "bare ONNX Runtime loop": [sys.executable, __file__, json.dumps(onnx)],
            "bare OpenVINO loop": [sys.executable, __file__, json.dumps(ir)],
            "benchmark_app": benchmark_app(Path(ir["path"]), shape, threads, options.calls, Path(folder)),
        }
        for number in range(options.turns):
            for pair in order.sample(PAIRS, len(PAIRS)):
                medians[pair].append(turn(field[pair[0]], tools[pair[1]]))
            shown = ", ".join(
                f"{pair[0]} {values[-1][0]:.3f} by {pair[1]} {values[-1][1]:.3f}"
                for pair, values in medians.items()
            )
            print(f"{number}: {shown}", flush=True)
    pairs = []
    for (mine, theirs), values in medians.items():
        found = ratio.speedup(
            *([[np.array([value])] for value in side] for side in zip(*values, strict=True))
        )
        pairs.append(
            {
                "ours": f"edge-tl {mine}",
                "theirs": theirs,
                "medians_ms": values,  # ours and theirs, by turn
                "ratio": found.speedup,  # our time to theirs
                "ci": found.speedup_ci,
                "within_3_percent": abs(found.speedup - 1) <= 0.03,
            }
        )
        print(f"{mine} by {theirs}: {found.speedup:.4f} {found.speedup_ci}")
    write_json(
        options.out,
        {
            "what": "medians of back-to-back calls: the timer's by the runtimes' own tools', interleaved",
            "pairs": pairs,
            "ran": ran,
            "input_size": shape[2:],
            "turns": options.turns,
            "calls": options.calls,
            "threads": threads,
            "harness_floor_us": floor_us(),
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
        },
    )


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        loop(json.loads(sys.argv[1]))
    else:
        main()
