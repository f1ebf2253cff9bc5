"""How long `export --int8` takes, stage by stage, before a change and after it; and that both find the same.

    python benchmarks/export_time.py RUN BEFORE WORK [--side before|after] [--set FIELD=VALUE]

RUN is a finished run, BEFORE a checkout of the earlier program, WORK a folder that keeps both bundles, so that each
side may have its own go (`--side`): the second completes the result. Seconds are of the whole command, and of stages,
one of which may hold others. `cpu` is time of the processor, which others on the machine stretch less: of all
processes together, of a stage that of the one that it runs in. The result goes to benchmarks/results/export_time.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import current_load, identity

HERE = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "export_time.json"
STAGES = {  # by module and function of either program
    "edge_tl.host.export.image_sets.check_images": "images checked",
    "edge_tl.host.export.image_sets.inputs": "images of INT8 decoded",
    "edge_tl.host.export.image_sets.evaluate": "all artifacts on all images",
    "edge_tl.host.export.image_sets.write_goldens": "goldens",
    "edge_tl.host.export.goldens.write_goldens": "goldens",
    "edge_tl.host.export.heatmaps.with_heatmaps": "heat maps",
    "edge_tl.host.export.fingerprints.measure_fingerprints": "fingerprints of mistakes",
    "edge_tl.host.export.artifacts._fp32_onnx": "FP32 to ONNX",
    "edge_tl.host.export.artifacts._to_openvino": "ONNX to OpenVINO",
    "edge_tl.host.export.artifacts._temperature": "temperature of FP32",
    "edge_tl.host.export.evaluation._proven_on": "other instruction sets",
    "edge_tl.host.int8.ladder.climb": "INT8, both runtimes",
    "edge_tl.host.int8.ranges.histograms": "INT8: ranges",
    "edge_tl.host.int8.candidate_builder._fp32_logits": "INT8: FP32's logits",
    "edge_tl.host.int8.candidate_evaluation.evaluate_candidate": "INT8: candidates evaluated",
    "edge_tl.host.models.reference.__call__": "PyTorch's logits",
    "edge_tl.host.export.pipeline._timed": "bench",
    "edge_tl.device.gates.verify": "gates",
    "edge_tl.host.export.pipeline._report": "pages",
    "edge_tl.host.export.written_reports.write_reports": "pages",
    "edge_tl.host.export.layer_noise.with_layer_errors": "noise of layers",
}
TRACER = """
import functools, importlib.machinery, json, os, sys, time
stages = json.loads(os.environ["EXPORT_TIME_STAGES"])
wanted = {}
for name, stage in stages.items():
    module, _, function = name.rpartition(".")
    wanted.setdefault(module, {})[function] = stage

def timed(function, stage):
    @functools.wraps(function)
    def call(*args, **kwargs):
        began, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            took = [stage, time.perf_counter() - began, time.process_time() - cpu]
            with open(os.environ["EXPORT_TIME_LOG"], "a") as log:
                log.write(json.dumps(took) + "\\n")
    return call

class Finder:
    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name in wanted else None
        if spec is not None:
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                owners = [module, *(each for each in vars(module).values() if isinstance(each, type))]
                for owner in owners:
                    for function, stage in wanted[name].items():
                        if function in vars(owner) and owner.__dict__.get("__module__", name) == name:
                            setattr(owner, function, timed(vars(owner)[function], stage))
            spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def main() -> None:
    """Run the sides that were asked for and write what is known of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("before", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--side", choices=("before", "after"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    settings = [word for each in options.set for word in ("--set", each)]
    for side, tree in (("before", options.before), ("after", HERE)):
        if options.side in (None, side):
            work, run = options.work.resolve(), options.run.resolve()
            words = [run, "--int8", "--out", work / side, "--overwrite", *settings]
            write_json(options.work / f"{side}.json", measured(tree, [str(word) for word in words]))
    sides = {side: options.work / f"{side}.json" for side in ("before", "after")}
    if all(path.is_file() for path in sides.values()):
        result = {
            "what": "edge-tl export RUN --int8, the whole command",
            "settings": options.set,
            **{side: read_json(path) for side, path in sides.items()},
            "same": compared(options.work / "before", options.work / "after"),
            "machine": identity().to_json(),
        }
        write_json(options.out, result)
        print(json.dumps(result["same"], indent=1))


def measured(tree: Path, words: list[str]) -> dict[str, Any]:
    """One export by the program in `tree`: seconds in all and by stage, and how busy the machine was."""
    before, start = current_load().to_json(), perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(TRACER)
        log = Path(folder) / "stages.jsonl"
        environment = os.environ | {
            "PYTHONPATH": f"{folder}{os.pathsep}{tree.resolve()}",
            "EXPORT_TIME_STAGES": json.dumps(STAGES),
            "EXPORT_TIME_LOG": str(log),
        }
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "edge_tl", "export", *words]
        # Elsewhere than in a checkout, whose program Python would take before the path's.
        code = subprocess.run(command, env=environment, cwd=folder, stdout=sys.stderr, check=False).returncode
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        if code not in (0, 1):
            raise SystemExit(f"edge-tl export of {tree}: exit code {code}")
        stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for line in log.read_text().splitlines():
            stage, seconds, cpu = json.loads(line)
            stages[stage][0] += seconds
            stages[stage][1] += cpu
    return {
        "commit": subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip(),
        "exit_code": code,
        "seconds": perf_counter() - start,
        "cpu": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        "stages": {name: {"seconds": wall, "cpu": cpu} for name, (wall, cpu) in stages.items()},
        "load": {"before": before, "after": current_load().to_json()},
    }


def compared(before: Path, after: Path) -> dict[str, Any]:
    """What two bundles of one run have in common: figures that are equal, and how far logits are apart."""
    old, new = (read_json(folder / "bundle.json") for folder in (before, after))
    figures = ("accuracy", "drop_pp", "drop_ci_pp", "agreement")
    rows = {row["id"]: row for row in old["artifacts"]}
    logits = [np.load(folder / "golden" / "logits.npz", allow_pickle=False) for folder in (before, after)]
    pixels = [
        np.load(folder / "golden" / "pixels.npz", allow_pickle=False)["pixels"] for folder in (before, after)
    ]
    equal = bool(np.array_equal(*pixels))
    return {
        "keys": _keys(old) == _keys(new),
        "reference": {
            key: [old["reference"][key], new["reference"][key]] for key in ("accuracy", "n", "split")
        },
        "artifacts": {
            row["id"]: {
                **{key: [rows[row["id"]][key], row[key]] for key in figures},
                # Of other golden images there is nothing to compare.
                "golden_logits_differ_by": float(np.abs(logits[0][row["id"]] - logits[1][row["id"]]).max())
                if equal
                else None,
            }
            for row in new["artifacts"]
            if row["id"] in rows
        },
        "golden_pixels_equal": equal,
        "gates": [sorted({gate["gate"] for gate in each["gates"]}) for each in (old, new)],
    }


def _keys(record: dict[str, Any]) -> list[str]:
    """All keys of a record and of what is in it, by path; lists by their first entry."""
    found = []
    for key, value in record.items():
        found.append(key)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and key not in ("versions", "recipe"):
            found += [f"{key}.{each}" for each in _keys(inner)]
    return sorted(found)


if __name__ == "__main__":
    main()
