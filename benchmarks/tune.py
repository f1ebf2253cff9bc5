"""Whether `edge-tl tune` picks what a full bench confirms, and how long it takes.

    python benchmarks/tune.py BUNDLE [BUNDLE ...]

Each bundle is copied and tuned through the command line. Then a full bench times every artifact that passed with every
number of threads that tune considers, in turns in one run. The pick is confirmed where it is the fastest of that run or
not distinguishable from the fastest; where the interval is too wide to say so, that is null. Both say whether the
machine was busy. The result goes to benchmarks/results/tune.json, an entry a bundle.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edge_tl.device.bench import ratio
from edge_tl.device.bench.effort import QUICK, THOROUGH, Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.tuning.configurations import CPU, Configuration

MOST_SLOWER = 0.1
RESULT = Path(__file__).resolve().parent / "results" / "tune.json"


def tuned(root: Path, budget: float | None) -> tuple[TunedRecord, float]:
    """What the command line picks, and the seconds that it takes from its start to its end."""
    command = [sys.executable, "-m", "edge_tl", "tune", str(root), "--json"]
    command += ["--budget", str(budget)] if budget else []
    start = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return TunedRecord.from_json(json.loads(done.stdout)), perf_counter() - start


def full_bench(bundle: Bundle, names: set[str], effort: Effort) -> BenchResult:
    """Every artifact of `names`, with one thread, half of the cores and all of them."""
    cores = cores_allowed()
    counts = sorted({1, max(1, cores // 2), cores})
    configurations = [Configuration(a, CPU, n) for a in bundle.artifacts if a.id in names for n in counts]
    workloads = [configuration.workload(bundle) for configuration in configurations]
    first = time_interleaved(workloads, effort=effort)
    fastest = min(first.artifacts, key=lambda row: row.latency_ms.p50 or 0.0)
    return rebased(first, fastest.id)


def rebased(result: BenchResult, base: str) -> BenchResult:
    """The same blocks, compared with another baseline; on a busy machine too, which the result then says."""
    blocks = {row.id: [np.array(block, np.int64) for block in row.samples_ns] for row in result.artifacts}
    rows = []
    for row in result.artifacts:
        found = ratio.speedup(blocks[base], blocks[row.id], row.block_round)
        rows.append(
            replace(
                row,
                speedup=found.speedup,
                speedup_ci=found.speedup_ci,
                distinguishable=found.distinguishable,
            )
        )
    return replace(result, baseline=base, artifacts=tuple(rows))


def confirmed(row: ArtifactTiming, fastest: str | None) -> bool | None:
    """Whether the pick is the fastest or as fast; None where the interval is too wide to tell: it may be slower by more
    than `MOST_SLOWER`."""
    if row.id == fastest:
        return True
    if row.distinguishable or row.speedup_ci is None:
        return False if row.distinguishable else None
    return True if row.speedup_ci[0] >= 1 - MOST_SLOWER else None


def compared(pick: TunedRecord, bench: BenchResult) -> dict[str, Any]:
    """The pick in the full bench, beside the fastest of it."""
    plural = "" if pick.threads == 1 else "s"
    name = f"{pick.artifact}, {pick.threads} thread{plural}"
    row = next(row for row in bench.artifacts if row.id == name)
    return {
        "pick": name,
        "fastest": bench.baseline,
        "speed_by_the_fastest": row.speedup,
        "speed_by_the_fastest_ci": row.speedup_ci,
        "confirmed": confirmed(row, bench.baseline),
    }


def entry(root: Path, effort: Effort, budget: float | None) -> dict[str, Any]:
    """Tune and bench a copy of the bundle in `root`."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(root, Path(scratch) / "bundle", ignore=shutil.ignore_patterns("tuned")))
        bundle = read_bundle(copy)
        pick, seconds = tuned(copy, budget)
        names = {str(pick.artifact), *(other.artifact for other in pick.over)}
        bench = full_bench(bundle, names, effort)
    rows = [
        {
            "id": row.id,
            "latency_ms": row.latency_ms.to_json(),
            "by_the_fastest": row.speedup,
            "ci": row.speedup_ci,
        }
        for row in bench.artifacts
    ]
    print(f"{bundle.record.name}: {compared(pick, bench)}; {seconds:.1f} s")
    return {
        "model": bundle.record.provenance.model,
        "input_size": list(bundle.preprocess.input_size),
        "artifacts": sorted(names),
        "seconds": round(seconds, 2),
        "tune": replace(pick, path=None, machine=pick.machine).to_json(),
        "full_bench": {"rounds": effort.rounds, "rows": rows, "busy": busy_reason(bench.conditions)},
        **compared(pick, bench),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--quick", action="store_true", help="a full bench of 5 rounds")
    parser.add_argument("--budget", type=float, help="as tune's own option")
    options = parser.parse_args()
    found = read_json(options.out)["bundles"] if options.out.exists() else {}
    for root in options.bundles:
        found[root.name] = entry(root, QUICK if options.quick else THOROUGH, options.budget)
        what = "edge-tl tune beside a full bench of the same artifacts and numbers of threads"
        write_json(options.out, {"what": what, "machine": identity().to_json(), "bundles": found})


if __name__ == "__main__":
    main()
