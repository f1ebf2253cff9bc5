"""Every strategy of `edge-tl finetune` on the same photographs, weights and split, one after the other.

    python benchmarks/strategies.py FLOWERS WEIGHTS.safetensors [--image-size 160] [--strategies head,lp-ft,auto]

Each is a whole process as a user starts it, with the defaults but for the image size, and shares no cached
features. `auto` costs little: which strategy it chooses is asked with a run of `--epochs 1`, and that strategy's
figures are the ones reported for it. Adds to results/strategies.json: strategies that are not asked for keep their
entry, with the machine it was measured on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from verb import timed

from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "strategies.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--strategies", default="head,partial,lp-ft,gradual,full,auto")
    parser.add_argument("--runs", type=Path, help="Where the runs go; a temporary folder otherwise.")
    options = parser.parse_args()
    result = read_json(RESULT) if RESULT.is_file() else {"strategies": {}}
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or Path(scratch)
        for strategy in options.strategies.split(","):
            entry = _finetune(options, strategy, runs / strategy / "run")
            result["strategies"][strategy] = entry | {
                "machine": identity().to_json(),
                "conditions": current_load().to_json(),
            }
            write_json(RESULT, result)
            print(strategy, entry["accuracy"], f"{entry['seconds']:.0f} s", flush=True)


def _finetune(options: argparse.Namespace, strategy: str, run: Path) -> dict[str, Any]:
    words: list[object] = ["finetune", options.data, "--weights", options.weights, "--strategy", strategy]
    words += ["--image-size", options.image_size, "--out", run]
    if strategy == "auto":
        words += ["--epochs", 1]
    record, seconds = timed(*words)
    return {
        "chosen": record["strategy"],
        "reason": record["strategy_reason"],
        "accuracy": record["metrics"]["accuracy"],
        "n": record["n"],
        "epochs": [entry["val_accuracy"] for entry in record["history"]],
        "best_epoch": record["best_epoch"],
        "seconds": seconds,
        "image_size": options.image_size,
    }


if __name__ == "__main__":
    main()
