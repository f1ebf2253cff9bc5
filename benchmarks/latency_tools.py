"""The timer's medians against the runtimes' own: OpenVINO's benchmark_app and a bare ONNX Runtime loop.

    python benchmarks/latency_tools.py BUNDLE [--turns 50] [--calls 300]

One interleaved run: in every turn each of the four in a fresh process, ours next to the tool it is held against, in an
order drawn anew; same file, hint, precision and threads. (benchmark_app counts what OpenVINO says a request took,
without Python's call of it.) The result goes to benchmarks/results/latency_tools.json. With a specification it is the
loop.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "latency_tools.json"
WARMUP = 20
PAIRS = [("edge-tl onnx-fp32", "bare ONNX Runtime loop"), ("edge-tl openvino-fp32", "benchmark_app")]


def loop(spec: dict[str, Any]) -> float:
    """The median nanoseconds of ONNX Runtime called back to back, by a loop that knows nothing of the package."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]
    session = onnxruntime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
    feed = {
        session.get_inputs()[0].name: numpy.random.default_rng(0)
        .uniform(-2, 2, spec["shape"])
        .astype("float32")
    }
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.3:
        session.run(None, feed)
    taken = []
    for _ in range(spec["calls"]):
        start = time.perf_counter_ns()
        session.run(None, feed)
        taken.append(time.perf_counter_ns() - start)
    return float(numpy.median(taken))


def benchmark_app(path: Path, shape: list[int], threads: int, calls: int) -> float:
    """The median nanoseconds that OpenVINO's own tool prints."""
    tool = shutil.which("benchmark_app", path=str(Path(sys.executable).parent)) or shutil.which(
        "benchmark_app"
    )
    if tool is None:
        raise SystemExit("no benchmark_app here: it comes with the openvino package")
    size = f"[{','.join(map(str, shape))}]"
    command = [
        tool,
        "-m",
        str(path),
        "-d",
        "CPU",
        "-hint",
        "latency",
        "-infer_precision",
        "f32",
        "-api",
        "sync",
    ]
    command += ["-ip", "f32", "-niter", str(calls), "-shape", size, "-data_shape", size]
    with tempfile.TemporaryDirectory() as folder:
        # It refuses -nthreads beside -hint, and takes the same from a file.
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"CPU": {"INFERENCE_NUM_THREADS": threads}}))
        command += ["-load_config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    if done.returncode or not found:
        raise SystemExit(f"benchmark_app: exit code {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return 1e6 * float(found[1])


def main() -> None:
    """All four in turns, then ratios."""
    import numpy as np

    from edge_tl.target.bundle import read_bundle
    from edge_tl.target.files import write_json
    from edge_tl.target.machine import conditions, cores_allowed, identity
    from edge_tl.target.timing import bench as room
    from edge_tl.target.timing import ratio
    from edge_tl.target.timing.children import Children, Contestant

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    shape, threads = [1, 3, *bundle.preprocess.input_size], cores_allowed()
    chosen = [bundle.artifact(name) for name in ("onnx-fp32", "openvino-fp32")]
    field = {c.id: c for c in room.contestants(bundle, chosen)}
    ran: dict[str, Any] = {}

    def ours(contestant: Contestant) -> float:
        with Children() as children:
            ready = children.start(contestant, warmup=WARMUP, describe=contestant.id not in ran)
            ran.setdefault(contestant.id, ready.get("ran"))
            answer = children.alive[contestant.id].ask(count=options.calls, seconds=120)
            return float(np.median(answer["samples_ns"]))

    def bare() -> float:
        spec = {"path": str(chosen[0].path), "shape": shape, "threads": threads, "calls": options.calls}
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(spec)], stdout=subprocess.PIPE, check=True
        )
        return float(done.stdout.splitlines()[-1])

    sides = {
        "edge-tl onnx-fp32": lambda: ours(field["onnx-fp32"]),
        "bare ONNX Runtime loop": bare,
        "edge-tl openvino-fp32": lambda: ours(field["openvino-fp32"]),
        "benchmark_app": lambda: benchmark_app(chosen[1].path, shape, threads, options.calls),
    }
    before, order = conditions(), random.Random(0)
    medians: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.turns):
        # A shared machine is another one a few seconds later: who is compared runs one after the other.
        for pair in order.sample(PAIRS, len(PAIRS)):
            for name in order.sample(pair, len(pair)):
                medians[name].append(sides[name]())
        shown = ", ".join(f"{name} {values[-1] / 1e6:.3f}" for name, values in medians.items())
        print(f"{number}: {shown} ms", flush=True)
    pairs = []
    for mine, theirs in PAIRS:
        blocks = [[np.array([value]) for value in medians[name]] for name in (mine, theirs)]
        found = ratio.speedup(*blocks)
        # The ratio of our time to theirs.
        entry = {"ours": mine, "theirs": theirs, "ratio": found["speedup"], "ci": found["speedup_ci"]}
        pairs.append(entry | {"within_3_percent": abs(found["speedup"] - 1) <= 0.03})
        print(f"{mine} by {theirs}: {found['speedup']:.4f} {found['speedup_ci']}")
    write_json(
        options.out,
        {
            "what": "medians of back-to-back calls: the timer's by the runtimes' own tools', interleaved",
            "medians_ms": {name: [value / 1e6 for value in values] for name, values in medians.items()},
            "pairs": pairs,
            "ran": ran,
            "input_size": shape[2:],
            "turns": options.turns,
            "calls": options.calls,
            "threads": threads,
            "harness_floor_us": room.floor_us(),
            "machine": identity(),
            "conditions": {"before": before, "after": conditions()},
        },
    )


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(loop(json.loads(sys.argv[1])))
    else:
        main()
