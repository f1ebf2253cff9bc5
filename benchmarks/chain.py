"""The whole chain on photographs: fine-tune, export, quantize, compare, time; keeps the bundle's record.

    python benchmarks/chain.py FLOWERS WEIGHTS.safetensors

FLOWERS holds train/ and val/. PyTorch and the four artifacts are timed interleaved, in fresh processes, long
enough for a p99. The result goes to benchmarks/results/chain_flowers.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from verb import timed

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "chain_flowers.json"


def main() -> None:
    """Run the two verbs and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        run, bundle = Path(scratch) / "flowers", Path(scratch) / "bundle"
        arguments = [str(options.data), "--model", "mobilenet_v2", "--weights", str(options.weights)]
        tuned, finetune_seconds = timed("finetune", *arguments, "--strategy", "head", "--out", str(run))
        record, export_seconds = timed("export", str(run), "--int8", "--thorough", "--out", str(bundle))
    del record["bundle"], record["provenance"]["run"]  # paths of this machine
    write_json(
        options.out,
        {
            "what": "MobileNetV2 at 224 px on 3,670 photographs of flowers: the record of the exported bundle",
            "finetune": {k: tuned[k] for k in ("n", "metrics", "seconds")},
            "seconds": {"finetune": finetune_seconds, "export": export_seconds},
            "record": record,
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
        },
    )
    print(record["recommendation"])


if __name__ == "__main__":
    main()
