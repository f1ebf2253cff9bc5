"""One timed block in a fresh process: `python -m edge_tl.target.bench_child SPEC` prints one JSON object.

It must not compare or judge; `bench` starts it and reads what it prints.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from edge_tl.target import latency
from edge_tl.target.runtime import Runtime, open_runtime, ran


def time_block(runtime: Runtime, shape: tuple[int, ...], spec: dict[str, Any]) -> dict[str, Any]:
    """Time `runtime` on one batch of `shape`; `spec` gives warmup, count and seconds."""
    # Uniform in the range that normalized photographs have: no denormal numbers, no early exit.
    inputs = np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)
    start = perf_counter_ns()
    runtime(inputs)
    first = perf_counter_ns() - start
    samples = latency.time_calls(
        lambda: runtime(inputs), warmup=spec["warmup"], count=spec["count"], seconds=spec["seconds"]
    )
    return {"samples_ns": samples.tolist(), "first_ns": first}


def main() -> None:
    """Read the specification from the command line, time the block, print the result."""
    spec = json.loads(sys.argv[1])
    start = perf_counter_ns()
    runtime = open_runtime(
        Path(spec["path"]),
        device=spec["device"],
        threads=spec["threads"],
        allow_fallback=spec.get("allow_fallback", False),
        check=False,  # it infers: `ran` does it after the block
    )
    load = perf_counter_ns() - start
    result = time_block(runtime, tuple(spec["shape"]), spec) | {"load_ns": load}
    if spec["describe"]:
        result["ran"] = ran(runtime)
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
