"""How many times faster than the fastest FP32 artifact each INT8 artifact is here, one interleaved run a bundle.

    python benchmarks/int8_speed.py BUNDLE|MODEL [...] [--files DIR]
    python benchmarks/int8_speed.py BUNDLE|MODEL [...] --out benchmarks/results/int8_speed_vnni.json

The timer is `edge-tl bench`'s own, without PyTorch among the workloads, so that FP32's faster runtime is what is
divided by. Speed depends on the architecture, the size and the CPU, not on what the model was trained for: a
torchvision model is given by its name as well, has seeded random weights, and stays in DIR for the next time. Writes
results/int8_speed.json; a CPU with VNNI is another answer and has a file of its own. A machine that others keep busy
gives no speed-up, and says why; `fastest_block_ms` is what it showed at its quietest.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.bench.workloads import workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.machine import cores_allowed, current_load, has_vnni, identity

RESULT = Path(__file__).parent / "results" / "int8_speed.json"
KEYS = "id speedup speedup_ci not_judged distinguishable steady".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", help="Bundles, or names of torchvision's models.")
    parser.add_argument("--files", type=Path, help="Where files of models go; a temporary folder otherwise.")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.files or Path(scratch)
        models = [
            bundled(Path(name)) if Path(name).is_dir() else untrained(name, folder / name)
            for name in options.bundles
        ]
    facts = {
        "vnni": has_vnni(),
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(options.out, {"models": models} | facts)


def bundled(path: Path) -> dict[str, Any]:
    """One bundle's FP32 and INT8 artifacts."""
    bundle = read_bundle(path)
    chosen = [a for a in bundle.artifacts if a.precision in ("fp32", "int8")]
    size = list(bundle.preprocess.input_size)
    return measured(bundle.record.provenance.model, size, workloads(bundle, chosen))


def untrained(model: str, folder: Path) -> dict[str, Any]:
    """The same of a model that was never trained."""
    from untrained import files

    spec = {"device": "CPU", "allow_fallback": False, "shape": [1, 3, 224, 224], "threads": cores_allowed()}
    asked = [
        Workload(name, WORKER, {"path": str(path), "precision": name.rpartition("-")[2], **spec})
        for name, path in files(model, folder).items()
    ]
    return measured(model, [224, 224], asked)


def measured(model: str, size: list[int], asked: list[Workload]) -> dict[str, Any]:
    """One interleaved run."""
    result = time_interleaved(asked).to_json()
    rows = [
        {key: row.get(key) for key in KEYS}
        | {
            "p50_ms": row["latency_ms"]["p50"],
            "fastest_block_ms": min(float(np.median(block)) for block in row["samples_ns"]) / 1e6,
            "ran": row["ran"],
        }
        for row in result["artifacts"]
    ]
    for row in rows:
        said = f"{row['speedup']:.2f} {row['speedup_ci']}" if row["speedup"] else row["not_judged"]
        print(
            f"{model} {row['id']}: {row['p50_ms']:.2f} ms ({row['fastest_block_ms']:.2f} at best), {said}",
            flush=True,
        )
    return {
        "model": model,
        "input_size": size,
        "baseline": result["baseline"],
        "artifacts": rows,
        "method": result["method"],
    }


if __name__ == "__main__":
    main()
