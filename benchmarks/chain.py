"""The whole chain on photographs: fine-tune, export, quantize, compare, time; keeps the bundle's record.

    python benchmarks/chain.py FLOWERS WEIGHTS.safetensors
    python benchmarks/chain.py FLOWERS WEIGHTS.safetensors --recipe flowers-efficientnet_lite0 --run RUN \\
        --out benchmarks/results/lite0_flowers.json

FLOWERS holds train/ and val/ (the recipe's: train/ and test/). PyTorch and the four artifacts are timed interleaved, in
fresh processes, long enough for a p99. RUN keeps what was trained; one that is finished is taken as it is. The result
goes to benchmarks/results/chain_flowers.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from verb import timed

from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "chain_flowers.json"


def main() -> None:
    """Run the two verbs and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--recipe", help="Of edge-tl; MobileNetV2's head where there is none.")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        run, bundle = options.run or Path(scratch) / "flowers", Path(scratch) / "bundle"
        tuned, finetune_seconds = finetuned(run, options)
        record, export_seconds = timed("export", run, "--int8", "--thorough", "--out", bundle)
    del record["bundle"], record["provenance"]["run"]  # paths of this machine
    size = "x".join(map(str, record["preprocess"]["crop"]))
    write_json(
        options.out,
        {
            "what": f"{tuned['model']} at {size} px on photographs of flowers: the record of the exported bundle",
            "finetune": {k: tuned[k] for k in ("model", "strategy", "metrics", "seconds")},
            "seconds": {"finetune": finetune_seconds, "export": export_seconds},
            "record": record,
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
        },
    )
    print(record["recommendation"])


def finetuned(run: Path, options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """The record of `run`, which is trained now where it is not finished, and the seconds of the whole process; of a
    finished one the training's own, which it knows."""
    if (run / "run.json").is_file():
        record = read_json(run / "run.json")
        return record, record["seconds"]["total"]
    what = [options.data, "--model", "mobilenet_v2", "--strategy", "head"]
    if options.recipe:
        what = [options.recipe, "--set", f"data.path={options.data}"]
    _, seconds = timed("finetune", *what, "--weights", options.weights, "--out", run)
    return read_json(run / "run.json"), seconds


if __name__ == "__main__":
    main()
