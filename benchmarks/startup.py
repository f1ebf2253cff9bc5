"""Processor time of what everybody waits for: `import edge_tl` and `edge-tl --help`, against an empty interpreter.

    python benchmarks/startup.py [--rounds 40]

The three take turns, each in a fresh interpreter, after one warm turn that is not counted. Time is user and system time
of the process. The intervals are of the median (order statistics). Writes results/startup.json.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.stats import binom

from edge_tl.device.files import write_json
from edge_tl.device.machine import identity

RESULT = Path(__file__).parent / "results" / "startup.json"
PROGRAMS = {
    "python": ["-c", "pass"],
    "import edge_tl": ["-c", "import edge_tl"],
    "edge-tl --help": ["-m", "edge_tl", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(rounds + 1):
        for name, words in PROGRAMS.items():
            used = _cpu_seconds(words)
            if turn:
                seconds[name].append(used)
    rows = {name: _row(values) for name, values in seconds.items()}
    write_json(RESULT, {"machine": identity().to_json(), "rounds": rounds, "cpu_seconds": rows})
    for name, row in rows.items():
        print(f"{name}: {row['p50']:.3f} s [{row['ci'][0]:.3f}, {row['ci'][1]:.3f}]")


def _cpu_seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(values: list[float]) -> dict[str, object]:
    ordered = np.sort(values)
    low = int(binom.ppf(0.025, len(ordered), 0.5)) - 1
    ends = [float(ordered[max(low, 0)]), float(ordered[min(len(ordered) - 1 - low, len(ordered) - 1)])]
    return {"p50": float(np.median(ordered)), "ci": ends, "n": len(ordered)}


if __name__ == "__main__":
    main()
