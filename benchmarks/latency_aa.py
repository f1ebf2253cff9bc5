"""How often an artifact is distinguished from itself: A/A runs, each as `edge-tl bench --aa` does one.

    python benchmarks/latency_aa.py BUNDLE [--runs 10] [--artifact onnx-fp32]

The interval of each should contain 1 and be at most 2 % wide. The result goes to benchmarks/results/latency_aa.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from verb import timed

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "latency_aa.json"
WIDEST = 0.02


def main() -> None:
    """Run the verb, count, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--artifact")
    parser.add_argument("--quick", action="store_true", help="to see that it works; too short for the record")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before, runs = current_load().to_json(), []
    more = ["--artifact", options.artifact] if options.artifact else []
    more += ["--quick"] if options.quick else []
    for seed in range(options.runs):
        result, seconds = timed("bench", options.bundle, "--aa", "--seed", seed, *more)
        row = result["artifacts"][0]
        facts = {"artifact": row["id"], "ran": row["ran"], "p50_ms": row["latency_ms"]["p50"]}
        labels = {"steady": row["steady"], "load1": result["conditions"]["before"]["load1"]}
        runs.append(result["noise"] | facts | labels | {"seconds": seconds})
        low, high = result["noise"]["ratio_ci"]
        print(
            f"{seed}: [{low:.4f}, {high:.4f}], {100 * (high - low):.2f} % wide, {seconds:.0f} s", flush=True
        )
    good = [run for run in runs if run["contains_one"] and run["width"] <= WIDEST]
    write_json(
        options.out,
        {
            "what": "edge-tl bench --aa: the same artifact under two names, in one interleaved run each",
            "runs": runs,
            "n": len(runs),
            "contain_one": sum(run["contains_one"] for run in runs),
            "widest": max(run["width"] for run in runs),
            "good": len(good),
            "method": result["method"],
            "harness_floor_us": result["harness_floor_us"],
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
        },
    )
    print(f"{len(good)} of {len(runs)} contain 1 and are at most {100 * WIDEST:.0f} % wide")


if __name__ == "__main__":
    main()
