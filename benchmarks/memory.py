"""Peak memory of `edge-tl finetune` on a large set: the process and its workers together, sampled ten times a second.

    python benchmarks/memory.py CIFAR10 [--strategy lp-ft]

CIFAR10 holds train/ and test/ with 60,000 images. Counted is what the processes do not share (USS) plus what they share
once (the main process's RSS), as the kernel reports it in smaps_rollup. Writes results/memory.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import psutil
from verb import command

from edge_tl.device.files import write_json
from edge_tl.device.machine import identity

RESULT = Path(__file__).parent / "results" / "memory.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--strategy", default="lp-ft")
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--image-size", default="64")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        words: list[object] = [
            "finetune",
            options.data,
            "--model",
            "mobilenet_v3_small",
            "--weights",
            "embedded",
        ]
        words += ["--image-size", options.image_size, "--strategy", options.strategy]
        words += ["--epochs", options.epochs, "--set", "head.C=[0.003]", "--out", f"{scratch}/run"]
        start = perf_counter()
        process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        assert process.stdout is not None
        record = json.loads(process.stdout.read())
    result = {
        "peak_bytes": peak,
        "n": record["n"],
        "model": record["model"],
        "image_size": int(options.image_size),
        "strategy": record["strategy"],
        "epochs": int(options.epochs),
        "accuracy": record["metrics"]["accuracy"],
        "images_per_s": [entry["images_per_s"] for entry in record["history"]],
        "seconds": perf_counter() - start,
        "machine": identity().to_json(),
    }
    write_json(RESULT, result)
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=1))


def _memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        total = parent.memory_info().rss
        for child in parent.children(recursive=True):
            try:
                total += child.memory_full_info().uss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0
    return int(total)


if __name__ == "__main__":
    main()
