"""What `edge-tl predict` makes of 10,000 photographs of a folder, beside what decoding and the model alone allow here.

    python benchmarks/predict_throughput.py BUNDLE PHOTOGRAPHS [--images 10000] [--rounds 2] [--artifact onnx-int8]

PHOTOGRAPHS is a folder; its files are linked again and again into a temporary one until there are `--images` of them.
In every round, in turns on this machine: decoding alone (the contract's pixels, on as many threads as predict uses),
the model alone (the same inputs again and again, in parallel calls as predict runs them, and in batches of 16 on all
cores, whichever is faster counts), and predict's own function. Then the command line goes through the whole folder
once, in a process whose memory is looked at ten times a second.

On a CPU decoding and the model need the same cores: what they allow together is 1 / (1/decode + 1/model). The smaller
of the two alone is given as well: it would be the bound if each had cores of its own.
The result goes to benchmarks/results/predict_throughput.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import psutil

from edge_tl.device.bench.machine_use import cpu_usage
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.images.folders import images_in
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.device.runtimes.parallel import open_parallel

RESULT = Path(__file__).resolve().parent / "results" / "predict_throughput.json"
BOUND = 0.9
BATCH = 16


def linked(photographs: Path, folder: Path, count: int) -> list[Path]:
    """`count` links, in folders of a thousand."""
    found = images_in(photographs).images
    links = []
    for i in range(count):
        place = folder / f"{i // 1000:03}" / f"{i:06}{found[i % len(found)].suffix}"
        place.parent.mkdir(exist_ok=True)
        os.link(found[i % len(found)], place) if same_disk(found[0], folder) else place.symlink_to(
            found[i % len(found)].resolve()
        )
        links.append(place)
    return links


def same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def rate(count: int, work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return count / (perf_counter() - start)


def threaded(work: Callable[[Any], object], items: list[Any], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items, chunksize=1):
            pass


def each_alone(bundle: Bundle, artifact: str, files: list[Path]) -> dict[str, float]:
    """Images a second of decoding and of the model. What is loaded for it is gone at its end: its threads may spin."""
    contract, threads = bundle.preprocess, cores_allowed()
    path = bundle.artifact(artifact).path
    runtime = open_runtime(path)
    run = open_parallel(path, runtime, threads)
    assert run is not None, "this compares on the CPU"
    inputs = [contract.apply(file)[None] for file in files[:64]]
    batch = np.concatenate(inputs[:BATCH])
    runtime(batch)
    given = [inputs[i % len(inputs)] for i in range(len(files))]
    return {
        "decode": rate(len(files), lambda: threaded(contract.apply, files, threads)),
        "model_parallel": rate(len(files), lambda: threaded(run, given, threads)),
        "model_batches": rate(
            len(files) // BATCH * BATCH, lambda: [runtime(batch) for _ in range(len(files) // BATCH)]
        ),
    }


def one_round(bundle: Bundle, artifact: str, files: list[Path]) -> dict[str, float]:
    """Images a second of each side, in turns."""
    found = each_alone(bundle, artifact, files)
    gc.collect()
    with bundle.open(artifact) as model:
        found["predict"] = rate(len(files), lambda: sum(1 for _ in model.predict_many(files)))
        found["predict_in_batches"] = rate(
            len(files), lambda: sum(1 for _ in model.predict_many(files, batch_size=BATCH))
        )
    found["model"] = max(found["model_parallel"], found["model_batches"])
    found["combined_bound"] = 1 / (1 / found["decode"] + 1 / found["model"])
    found["of_combined"] = found["predict"] / found["combined_bound"]
    found["of_the_lesser"] = found["predict"] / min(found["decode"], found["model"])
    return {name: round(value, 3) for name, value in found.items()}


def whole_folder(bundle: Path, artifact: str, folder: Path, out: Path) -> dict[str, Any]:
    """The command line once, and the memory of its process over time."""
    words = ["predict", bundle, folder, "--artifact", artifact, "--out", out, "--json"]
    start = perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "edge_tl", *map(str, words)], stdout=subprocess.PIPE)
    samples: list[tuple[float, float]] = []

    def watch() -> None:
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                samples.append((round(perf_counter() - start, 2), round(seen.memory_info().rss / 1e6, 1)))
            except psutil.Error:
                return
            sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = process.communicate()
    seconds = perf_counter() - start
    watcher.join()
    working = [mb for at, mb in samples if at > 0.25 * seconds]
    half = len(working) // 2
    return {
        "seconds": round(seconds, 2),
        "exit_code": process.returncode,
        "n": json.loads(said)["n"],
        "rows": sum(1 for _ in out.open(encoding="utf-8")) - 1,
        "memory_mb": {
            "second_quarter_median": statistics.median(working[: half or 1]),
            "last_quarters_median": statistics.median(working[half:] or working),
            "max": max(working),
            "samples": samples[:: max(1, len(samples) // 100)],
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--round-images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--artifact", action="append")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    bundle = read_bundle(asked.bundle)
    names = asked.artifact or [bundle.record.recommended or bundle.artifacts[0].id]
    before = cpu_usage()
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photographs"
        folder.mkdir()
        files = linked(asked.photographs, folder, asked.images)
        for name in names:
            rounds = [one_round(bundle, name, files[: asked.round_images]) for _ in range(asked.rounds)]
            middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
            whole = whole_folder(asked.bundle, name, folder, Path(scratch) / f"{name}.csv")
            whole["images_per_s"] = round(asked.images / whole["seconds"], 1)
            results[name] = {
                "images_per_s": middle,
                "rounds": rounds,
                "whole_folder": whole,
                "reached": middle["of_combined"] >= BOUND,
            }
            print(
                name,
                json.dumps(middle),
                json.dumps({**whole, "memory_mb": {**whole["memory_mb"], "samples": ""}}),
            )
    after = cpu_usage()
    used = before.until(after) if before and after else None
    record = {
        "machine": identity().to_json(),
        "images": asked.images,
        "images_a_round": asked.round_images,
        "threads": cores_allowed(),
        "bundle": bundle.record.name,
        "input": list(bundle.preprocess.input_size),
        "bound": BOUND,
        "others_cores": None if used is None else used.to_json(),
        "artifacts": results,
    }
    write_json(asked.out, record)
    return 0 if all(each["reached"] for each in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
