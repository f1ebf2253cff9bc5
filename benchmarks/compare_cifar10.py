"""The comparison every tutorial ends with, as the one command it is: two models, two strategies, three rates.

    python benchmarks/compare_cifar10.py CIFAR10 [--images-per-class 500] [--epochs 3] [--out FOLDER]

CIFAR10 holds train/ and test/. ResNet18 starts from random weights, MobileNetV3-Small from the embedded backbone: the
comparison shows what the verb does, not how good the models can be. Writes results/compare_cifar10.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from verb import timed

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

RESULT = Path(__file__).parent / "results" / "compare_cifar10.json"
KEYS = "name model strategy lr val_accuracy accuracy n_val n latency_ms seconds front".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images-per-class", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    words: list[object] = ["compare", options.data, "--models", "resnet18,mobilenet_v3_small"]
    words += ["--strategies", "head,full", "--lrs", "2e-4,1e-3,5e-3"]
    words += ["--weights", "resnet18=none", "--weights", "mobilenet_v3_small=embedded", "--image-size", 32]
    words += ["--epochs", options.epochs, "--set", f"data.limit={options.images_per_class}"]
    words += [
        "--set",
        "data.val=0.05",
        "--set",
        "head.C=[0.003]",
        "--max-latency-ms",
        5,
        "--min-accuracy",
        0.4,
    ]
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        record, seconds = timed(*words, "--out", options.out or Path(scratch) / "compared")
    result = {
        "trials": [{key: trial[key] for key in KEYS} for trial in record["trials"]],
        "pick": record["pick"],
        "front": record["front"],
        "images_per_class": options.images_per_class,
        "epochs": options.epochs,
        "seconds": seconds,
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
