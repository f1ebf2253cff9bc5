"""What was planted and what the timer found: a sleep of 5 % in every call, and a tail of ten times as long.

    python benchmarks/latency_planted.py BUNDLE [--artifact onnx-fp32]

One run each, in fresh processes, by the package's own timer; only the callable is another. The result goes to
benchmarks/results/latency_planted.json. Run as a module with a specification it is one such process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from edge_tl.device.bench.effort import NOISE, THOROUGH, Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.worker import serve
from edge_tl.device.bench.workers import Workload
from edge_tl.device.bench.workloads import workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity
from edge_tl.device.runtimes.open import Runtime, open_runtime

RESULT = Path(__file__).parent / "results" / "latency_planted.json"


class Planted:
    """A runtime whose calls last longer than they did: all by a fraction, or every so many ten times as long."""

    def __init__(self, runtime: Runtime, *, slower: float, every: int) -> None:
        self._runtime, self._slower, self._every, self._calls = runtime, slower, every, 0
        self.name, self.version, self.device = runtime.name, runtime.version, runtime.device
        self.threads, self.precision = runtime.threads, runtime.precision

    def __call__(self, inputs: Any) -> Any:
        start = perf_counter_ns()
        result = self._runtime(inputs)
        factor = 1 + self._slower
        self._calls += 1
        if self._every and self._calls % self._every == 0:
            factor = 10.0
        stop = start + factor * (perf_counter_ns() - start)
        # time.sleep oversleeps by more than 5 % of a small model's call.
        while factor > 1 and perf_counter_ns() < stop:
            pass
        return result


def worker(spec: dict[str, Any]) -> None:
    """Serve blocks of the planted runtime."""

    def open_it() -> Runtime:
        runtime = open_runtime(Path(spec["path"]), device=spec["device"], threads=spec["threads"])
        return Planted(runtime, slower=spec["slower"], every=spec["every"])

    serve(open_it, spec)


def main() -> None:
    """Time the artifact as it is, slowed, and with a tail; compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--artifact", default="onnx-fp32")
    parser.add_argument("--quick", action="store_true", help="to see that it works; too short for the record")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    (plain,) = workloads(bundle, [bundle.artifact(options.artifact)])
    before = current_load().to_json()
    effort = Effort(rounds=4, blocks=6, count=5) if options.quick else NOISE
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])

    def planted(name: str, *, slower: float = 0.0, every: int = 0) -> Workload:
        spec = plain.spec | {"slower": slower, "every": every}
        return replace(plain, id=name, module="latency_planted", spec=spec)

    slow = [planted("plain"), planted("5 % slower", slower=0.05)]
    tails = [planted("plain"), planted("1 in 100", every=100), planted("1 in 80", every=80)]
    found = time_interleaved(slow, effort=effort, baseline="plain").to_json()
    tailed = time_interleaved(tails, effort=THOROUGH, baseline="plain").to_json()
    row = found["artifacts"][1]
    seen = [1 / end for end in reversed(row["speedup_ci"])]
    result = {
        "what": "calls made 5 % longer, and 1 in 100 (and 1 in 80) made ten times as long, as the timer sees them",
        "slow_down": {"planted": 1.05, "found": 1 / row["speedup"], "ci": seen, "excludes_1": seen[0] > 1},
        "tails": [
            {"id": r["id"], "latency_ms": r["latency_ms"], "n_slow": _slow(r)} for r in tailed["artifacts"]
        ],
        "method": {"slow_down": found["method"], "tails": tailed["method"]},
        "ran": row["ran"],
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(options.out, result)
    print(f"5 % slower: {1 / row['speedup']:.4f} [{seen[0]:.4f}, {seen[1]:.4f}]")
    for tail in result["tails"]:
        ms = tail["latency_ms"]
        print(f"{tail['id']}: p50 {ms['p50']:.3f}, p99 {ms['p99']:.3f} {ms['p99_ci']} ms")


def _slow(row: dict[str, Any]) -> int:
    """Calls of more than eight times the median."""
    samples = np.concatenate([np.array(block) for block in row["samples_ns"]])
    return int((samples > 8 * np.median(samples)).sum())


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        worker(json.loads(sys.argv[1]))
    else:
        main()
