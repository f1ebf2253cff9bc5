"""Time every model of a comparison as it would be deployed: exported, in fresh processes, all in one run.

It must not train or judge. Latency does not depend on weights, so one finished trial of each model stands for all.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.files import read_json, write_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.runtimes import sandbox
from edge_tl.host.comparison.study import GridStudy
from edge_tl.host.runs import checkpoint

FOLDER, RECORD = "timed", "bench.json"
ODD = re.compile(r"[^\w.-]+")  # what a file's name should not hold


def time_models(
    grid_study: GridStudy,
    finished: list[dict[str, Any]],
    out: Path,
    effort: Effort,
    *,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """`{models: {MODEL: {latency_ms, size_mb}}, machine, method, conditions, ran, unmeasured}` of the FP32 ONNX file
    of each model of the `finished` trials, one image a call.

    Models are timed together, in interleaved rounds; what an earlier call measured on this machine is used again
    only if it measured all of them, as thoroughly. A model that cannot be exported is under `unmeasured`, with its
    reason.
    """
    runs = {row["model"]: grid_study.run(row["name"]) for row in reversed(finished)}
    records = {model: checkpoint.read_run(run) for model, run in runs.items()}
    shapes = {model: [1, 3, *record.preprocess.input_size] for model, record in records.items()}
    ids = {
        model: f"{re.sub(ODD, '-', model)}-{height}x{width}" for model, (*_, height, width) in shapes.items()
    }
    method = asdict(effort)
    found = _known(out / FOLDER / RECORD, set(ids.values()), method)
    if found is None:
        faults = _export({ids[model]: run for model, run in runs.items()}, out / FOLDER, listener)
        field = [_workload(ids[m], out / FOLDER, shapes[m]) for m in runs if ids[m] not in faults]
        found = (
            time_interleaved(field, effort=effort, listener=listener).to_json() if field else _nothing(method)
        )
        for row in found["artifacts"]:
            row["bytes"] = _file(out / FOLDER, row["id"]).stat().st_size
        found["unmeasured"] = faults
        write_json(out / FOLDER / RECORD, found)
    rows = {row["id"]: row for row in found["artifacts"]}
    return {
        "models": {
            model: {"latency_ms": rows[i]["latency_ms"], "size_mb": rows[i]["bytes"] / 1e6}
            for model, i in ids.items()
            if i in rows
        },
        "machine": found["machine"],
        "method": found["method"],
        "conditions": found["conditions"],
        "ran": {model: rows[i]["ran"] for model, i in ids.items() if i in rows},
        "unmeasured": {model: found["unmeasured"][i] for model, i in ids.items() if i in found["unmeasured"]},
    }


def _known(path: Path, wanted: set[str], method: dict[str, int]) -> dict[str, Any] | None:
    """An earlier measurement, if it is of this machine, as thorough, and of everything wanted."""
    if not path.is_file():
        return None
    record = read_json(path)
    there = {row["id"] for row in record.get("artifacts", [])} | set(record.get("unmeasured", {}))
    same = (
        record.get("machine") == identity().to_json()
        and method.items() <= (record.get("method") or {}).items()
    )
    return record if same and wanted <= there else None


def _export(runs: dict[str, Path], folder: Path, listener: Listener) -> dict[str, str]:
    """Write the file of each ID that has none yet; the reasons of those that failed."""
    from edge_tl.host.convert.fp32 import to_onnx

    folder.mkdir(exist_ok=True)
    faults = {}
    for done, (name, run) in enumerate(runs.items()):
        listener.progress("export", done, len(runs))
        if _file(folder, name).is_file():
            continue
        scratch = folder / f".{name}.onnx"  # a kill leaves no half file to be timed later
        try:
            model, record = checkpoint.load_run(run)
            contract = record.preprocess
            to_onnx(model, scratch, contract, list(record.labels))
            os.replace(scratch, _file(folder, name))
            # Made here, and compared with PyTorch's answers.
            sandbox.mark_tested(_file(folder, name), size=contract.input_size)
        except EdgeTLError as error:
            scratch.unlink(missing_ok=True)
            faults[name] = str(error)
            listener.note(f"{name} has no latency: {error}")
    listener.progress("export", len(runs), len(runs))
    return faults


def _workload(name: str, folder: Path, shape: list[int]) -> Workload:
    spec = {
        "path": str(_file(folder, name)),
        "device": "CPU",
        "shape": shape,
        "threads": cores_allowed(),
    }
    return Workload(name, WORKER, spec)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.onnx"


def _nothing(method: dict[str, int]) -> dict[str, Any]:
    return {"machine": identity().to_json(), "conditions": None, "method": method, "artifacts": []}
