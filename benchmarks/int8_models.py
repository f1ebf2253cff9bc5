"""INT8 by the ladder beside naive INT8, on models fine-tuned here: runs of any classifiers, one line an artifact.

    python benchmarks/int8_models.py RUN [RUN ...] [--out BUNDLES] [--time-budget 9m]

Each run is exported with `--int8 --max-drop 0.3` (every rung), and its FP32 graph quantized as most people do first
(per tensor, min-max). A bundle that lies in BUNDLES already is taken as it is. Writes results/int8_models.json; models
that are measured there already and not given again stay as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from verb import timed
from yardstick import naive, rows

from edge_tl.device.bundle import RECORD, read_report
from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "int8_models.json"
MAX_DROP = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="Where bundles go; a temporary folder otherwise.")
    parser.add_argument("--time-budget", help="Of each runtime's ladder.")
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        models = [
            measured(run, out / run.name, options.time_budget) | {"machine": identity().to_json()}
            for run in options.runs
        ]
    facts = {
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    new = {(each["model"], each["data"]): each for each in models}
    old = read_json(RESULT)["models"] if RESULT.is_file() else []
    kept = {(each["model"], each["data"]): each for each in old}
    write_json(RESULT, {"max_drop": MAX_DROP, "models": list((kept | new).values())} | facts)


def measured(run: Path, bundle: Path, time_budget: str | None) -> dict[str, Any]:
    """One run's INT8 artifacts, and the naive quantization on the same images."""
    if not (bundle / RECORD).is_file():
        limit = ("--time-budget", time_budget) if time_budget else ()
        timed("export", run, "--int8", "--max-drop", MAX_DROP, *limit, "--out", bundle)
    record, saved = read_report(bundle).to_json(), read_json(run / "run.json")
    fastest = min((a["latency_ms"]["p50"], a["id"]) for a in record["artifacts"] if a["precision"] == "fp32")
    artifacts = rows(record)
    for row in artifacts:
        whole = next(a for a in record["artifacts"] if a["id"] == row["id"])
        row |= {key: whole[key] for key in ("passed", "faster_than_fp32", "faster_than_fp32_ci")}
    return {
        "model": saved["model"],
        "data": Path(saved["data"]["path"]).name,
        "input_size": record["preprocess"]["crop"] or record["preprocess"]["resize_size"],
        "reference": {key: record["reference"][key] for key in ("accuracy", "n")},
        "fastest_fp32": fastest[1],
        "sets": record["provenance"]["sets"],
        "naive": naive(run, bundle),
        "artifacts": artifacts,
    }


if __name__ == "__main__":
    main()
