"""What an export computes for each image, before a change and after it: seconds of the processor, and the same figures.

    python benchmarks/export_stages.py RUN BEFORE [--images 32] [--work DIR]

RUN is a finished run, BEFORE a checkout of the earlier program. Both programs measure the same files and the same
training images of the run, in fresh processes in turn; of each stage the least of its `--rounds` counts. DIR keeps the
files that both read. For the whole command see export_time.py, which wants a machine of its own for minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from edge_tl.device.files import write_json
from edge_tl.device.machine import cores_allowed, current_load, identity
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.int8.ranges import ESTIMATORS, histograms

HERE = Path(__file__).resolve()
RESULT = HERE.parent / "results" / "export_stages.json"
IMPORTED = (
    "import edge_tl.host.isolated, edge_tl.host.int8.candidate_source, edge_tl.host.export.isolated_runtime"
)


def main() -> None:
    """Measure both sides and write the result; with `--measure`, one side in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("before", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.run, options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = (options.work or Path(folder)).resolve()
        work.mkdir(exist_ok=True)
        prepare(options.run, work, options.images)
        load = {"before": current_load().to_json()}
        trees = {"before": options.before.resolve(), "after": HERE.parents[1]}
        rounds: dict[str, list[Any]] = {side: [] for side in trees}
        for _ in range(options.rounds):
            for side, tree in trees.items():
                rounds[side].append(in_tree(tree, options.run.resolve(), work, side))
        load["after"] = current_load().to_json()
        result = {
            "what": f"milliseconds for an image ({options.images} of them), seconds for a start",
            "cores": cores_allowed(),
            **{side: least(found) for side, found in rounds.items()},
            "same": compared(*(np.load(work / f"{side}.npz") for side in trees)),
            "machine": identity().to_json(),
            "load": load,
        }
        write_json(options.out, result)
        print(json.dumps(result, indent=1))


def prepare(run: Path, work: Path, count: int) -> None:
    """The files that both sides read: the FP32 model as the quantizer wants it, its IR, images."""
    from edge_tl.host.convert.fp32 import to_onnx, to_openvino
    from edge_tl.host.export import image_sets
    from edge_tl.host.int8 import qdq
    from edge_tl.host.runs import checkpoint

    if (work / "images.npy").is_file():
        return
    model, saved = checkpoint.load_run(run)
    dataset, contract = saved.dataset(), saved.preprocess
    to_onnx(model, work / "fp32.onnx", contract, dataset.labels)
    to_openvino(work / "fp32.onnx", work / "fp32.xml", contract, dataset.labels)
    qdq.prepare_graph(work / "fp32.onnx", work / "prepared.onnx")
    chosen = image_sets.calibration_set(dataset, count, 0)
    image_sets.inputs(contract, dataset, chosen, work / "images.npy")


def in_tree(tree: Path, run: Path, work: Path, side: str) -> dict[str, Any]:
    """One round of the program in `tree`, which is the only one on the path."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, str(HERE), str(run), "--measure", str(work / side)]
    done = subprocess.run(command, env=environment, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    timing = f"import time; {IMPORTED}; print(time.process_time())"
    start = subprocess.run(
        [sys.executable, "-c", timing],
        env=environment,
        cwd=work,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    cpu = float(start.stdout.split()[-1])
    return found | {"a start of the process that makes files (s)": {"seconds": None, "cpu": cpu}}


def measured(run: Path, out: Path) -> dict[str, Any]:
    """Wall and processor milliseconds an image of each stage; what they computed goes to `out`."""
    import edge_tl
    from edge_tl.host.models.reference import TorchRuntime
    from edge_tl.host.runs import checkpoint

    work, images = out.parent, np.load(out.parent / "images.npy", mmap_mode="r")
    runtime, kept, found = TorchRuntime(checkpoint.load_run(run)[0]), {}, {}

    def torch_logits() -> Any:
        # In batches of 16, as the evaluation hands them over.
        return np.concatenate([runtime(np.array(images[i : i + 16])) for i in range(0, len(images), 16)])

    stages: dict[str, Callable[[], Any]] = {
        "ranges": lambda: histograms(str(work / "prepared.onnx"), images),
        "onnx": lambda: batched_logits(work / "fp32.onnx", images),
        "openvino": lambda: batched_logits(work / "fp32.xml", images),
        "pytorch": torch_logits,
    }
    for name, stage in stages.items():
        wall, cpu = perf_counter(), process_time()
        kept[name] = stage()
        each = 1000 / len(images)
        found[name] = {"ms": each * (perf_counter() - wall), "cpu_ms": each * (process_time() - cpu)}
    tensors = kept.pop("ranges")
    for estimator in ESTIMATORS[:5]:
        kept[f"ranges {estimator}"] = np.array([seen.range(estimator) for seen in tensors.values()])
    np.savez(out.with_suffix(".npz"), **kept)
    return found | {
        "program": {"version": edge_tl.__version__, "commit": _commit(Path(edge_tl.__file__).parents[1])}
    }


def _commit(tree: Path) -> str | None:
    asked = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


def least(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each stage the least figures of all rounds."""
    return {
        stage: {
            key: min(each[stage][key] for each in rounds) if isinstance(value, float) else value
            for key, value in figures.items()
        }
        for stage, figures in rounds[0].items()
    }


def compared(old: Any, new: Any) -> dict[str, Any]:
    """How far what both sides computed is apart: logits, answers, and ranges by their own width."""
    found: dict[str, Any] = {}
    for name in old.files:
        a, b = old[name], new[name]
        if name.startswith("ranges"):
            width = np.maximum(a[:, 1] - a[:, 0], 1e-9)
            moved = np.abs(a - b).max(axis=1) / width
            found[name] = {"equal": int(np.sum(moved == 0)), "of": len(a), "most": float(moved.max())}
        else:
            same = int(np.sum(a.argmax(1) == b.argmax(1)))
            found[name] = {"differ_by": float(np.abs(a - b).max()), "same_answers": same, "of": len(a)}
    return found


if __name__ == "__main__":
    main()
