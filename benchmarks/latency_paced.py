"""The latency that `edge-tl bench --fps 10` reports against an independent loop that sleeps to its schedule.

    python benchmarks/latency_paced.py BUNDLE [--artifact onnx-fp32] [--fps 10] [--seconds 30] [--turns 5]

Both in turns, each in fresh processes. The loop is plain ONNX Runtime or OpenVINO and knows nothing of the package. The
result goes to benchmarks/results/latency_paced.json. Run with a specification it is one such loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from verb import timed

RESULT = Path(__file__).parent / "results" / "latency_paced.json"


def loop(spec: dict[str, Any]) -> list[float]:
    """Milliseconds from the moment each call was due, by a loop as an application has it."""
    import numpy

    inputs = numpy.random.default_rng(0).uniform(-2, 2, spec["shape"]).astype("float32")
    if spec["path"].endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec["threads"]
        session = onnxruntime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: inputs}

        def call() -> object:
            return session.run(None, feed)
    else:
        import openvino

        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        hints |= {"INFERENCE_NUM_THREADS": spec["threads"]}
        request = openvino.Core().compile_model(spec["path"], "CPU", hints).create_infer_request()

        def call() -> object:
            return request.infer([inputs], share_inputs=True)

    for _ in range(20):
        call()
    taken, period = [], 1 / spec["fps"]
    begin = time.monotonic()
    for i in range(int(spec["fps"] * spec["seconds"])):
        due = begin + i * period
        if (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        call()
        taken.append(1e3 * (time.monotonic() - due))
    return taken


def main() -> None:
    """Run both in turns, compare their medians, write the result."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.files import write_json
    from edge_tl.device.machine import cores_allowed, current_load, identity

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--artifact", default="onnx-fp32")
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    before, turns = current_load().to_json(), []
    spec = {
        "path": str(bundle.artifact(options.artifact).path),
        "shape": [1, 3, *bundle.preprocess.input_size],
        "threads": cores_allowed(),
        "fps": options.fps,
        "seconds": options.seconds,
    }
    rate = ["--fps", options.fps, "--seconds", options.seconds, "--artifact", options.artifact]
    for number in range(options.turns):
        ours: Any = None
        theirs: list[float] = []
        for who in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
            if who == "ours":
                ours, _ = timed("bench", options.bundle, *rate)
            else:
                done = subprocess.run(
                    [sys.executable, __file__, json.dumps(spec)], stdout=subprocess.PIPE, check=True
                )
                theirs = json.loads(done.stdout.splitlines()[-1])
        row = ours["artifacts"][0]
        turns.append(
            {
                "reported_p50_ms": row["paced"]["latency_ms"]["p50"],
                "loop_p50_ms": statistics.median(theirs),
                "loop_n": len(theirs),
                "back_to_back_p50_ms": row["latency_ms"]["p50"],
                "missed": row["paced"]["missed"],
                "idle_penalty": row["paced"]["idle_penalty"],
            }
        )
        print(json.dumps(turns[-1]), flush=True)
    ratios = [turn["reported_p50_ms"] / turn["loop_p50_ms"] for turn in turns]
    result = {
        "what": "p50 that edge-tl bench --fps reports by that of an independent loop, in turns",
        "artifact": options.artifact,
        "fps": options.fps,
        "seconds": options.seconds,
        "turns": turns,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "within_5_percent": abs(statistics.median(ratios) - 1) <= 0.05,
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(options.out, result)
    print(f"reported by loop: {result['ratio']:.4f}; within 5 %: {result['within_5_percent']}")


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        sys.stdout.write(json.dumps(loop(json.loads(sys.argv[1]))) + "\n")
    else:
        main()
