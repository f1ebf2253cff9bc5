"""How many times faster than the fastest FP32 artifact each INT8 artifact is here, one interleaved run a bundle.

    python benchmarks/int8_speed.py BUNDLE [BUNDLE ...]
    python benchmarks/int8_speed.py BUNDLE [BUNDLE ...] --out benchmarks/results/int8_speed_vnni.json

The timer is `edge-tl bench`'s own, without PyTorch among the workloads, so that FP32's faster runtime is what is
divided by. Speed depends on the architecture, the size and the CPU, not on what the model was trained for. Writes
results/int8_speed.json; a CPU with VNNI is another answer and has a file of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.workloads import workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, has_vnni, identity

RESULT = Path(__file__).parent / "results" / "int8_speed.json"
KEYS = "id speedup speedup_ci distinguishable steady".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    models = [measured(path) for path in options.bundles]
    facts = {
        "vnni": has_vnni(),
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(options.out, {"models": models} | facts)


def measured(path: Path) -> dict[str, Any]:
    """One bundle's FP32 and INT8 artifacts."""
    bundle = read_bundle(path)
    chosen = [a for a in bundle.artifacts if a.precision in ("fp32", "int8")]
    result = time_interleaved(workloads(bundle, chosen)).to_json()
    rows = [
        {key: row[key] for key in KEYS} | {"p50_ms": row["latency_ms"]["p50"], "ran": row["ran"]}
        for row in result["artifacts"]
    ]
    for row in rows:
        print(
            f"{path.name} {row['id']}: {row['p50_ms']:.2f} ms, {row['speedup']:.2f} {row['speedup_ci']}",
            flush=True,
        )
    return {
        "model": bundle.record.provenance.model,
        "input_size": bundle.preprocess.input_size,
        "baseline": result["baseline"],
        "artifacts": rows,
        "method": result["method"],
    }


if __name__ == "__main__":
    main()
