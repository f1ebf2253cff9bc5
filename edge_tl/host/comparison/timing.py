"""Time every model of a comparison as it would be deployed: exported, in fresh processes, all in one run.

Trains nothing. Latency does not depend on weights, so one finished trial of each model stands for all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.quiet import when_quiet
from edge_tl.device.bench.workers import WORKER, Workload
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import read_json, write_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bench import BenchResult, MethodRecord
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.device.runtimes import sandbox
from edge_tl.host.comparison.record import ComparedTrial, TimedModels, TimingRecord
from edge_tl.host.comparison.study import GridStudy
from edge_tl.host.runs import checkpoint

FOLDER, RECORD = "timed", "bench.json"
ODD = re.compile(r"[^\w.-]+")  # what a file's name should not hold


@dataclass(frozen=True)
class ModelTimings:
    """By model: latency and size of its FP32 ONNX file (megabytes), one image a call; and how they were timed."""

    latency_ms: dict[str, LatencyRecord]
    size_mb: dict[str, float]
    machine: MachineRecord
    timing: TimingRecord


def time_models(
    grid_study: GridStudy,
    finished: Sequence[ComparedTrial],
    out: Path,
    effort: Effort,
    *,
    listener: Listener = SILENT,
) -> ModelTimings:
    """Time the FP32 ONNX file of each model of the `finished` trials.

    Models are timed together, in interleaved rounds; what an earlier call measured on this machine is used again
    only if it measured all of them, as thoroughly. A model that cannot be exported is under `unmeasured`, with its
    reason.
    """
    runs = {trial.model: grid_study.run(trial.name) for trial in reversed(finished)}
    records = {model: checkpoint.read_run(run) for model, run in runs.items()}
    shapes = {model: [1, 3, *record.preprocess.input_size] for model, record in records.items()}
    ids = {model: _name(model, record.preprocess) for model, record in records.items()}
    found = _known(out / FOLDER / RECORD, set(ids.values()), effort)
    if found is None:
        faults = _export({ids[model]: run for model, run in runs.items()}, out / FOLDER, listener)
        timed = [_workload(ids[m], out / FOLDER, shapes[m]) for m in runs if ids[m] not in faults]
        bench = _timed(timed, effort, listener) if timed else None
        found = TimedModels(
            machine=bench.machine if bench else identity(),
            method=bench.method
            if bench
            else MethodRecord(rounds=effort.rounds, blocks=effort.blocks, count=effort.count),
            bench=bench,
            bytes={workload.id: _file(out / FOLDER, workload.id).stat().st_size for workload in timed},
            unmeasured=faults,
        )
        write_json(out / FOLDER / RECORD, found.to_json())
    rows = {row.id: row for row in found.bench.artifacts} if found.bench else {}
    measured = {model: rows[name] for model, name in ids.items() if name in rows}
    return ModelTimings(
        latency_ms={model: row.latency_ms for model, row in measured.items()},
        size_mb={model: found.bytes[row.id] / 1e6 for model, row in measured.items()},
        machine=found.machine,
        timing=TimingRecord(
            method=found.method,
            conditions=found.bench.conditions if found.bench else None,
            ran={model: row.ran for model, row in measured.items()},
            unmeasured={m: found.unmeasured[name] for m, name in ids.items() if name in found.unmeasured},
        ),
    )


def _name(model: str, contract: Preprocess) -> str:
    """Of a file that is timed: a five-crop model of 256 pixels does five times the work of one that sees them once."""
    height, width = contract.input_size
    crops = f"-five-{contract.five_crop[0]}x{contract.five_crop[1]}" if contract.five_crop else ""
    return f"{re.sub(ODD, '-', model)}-{height}x{width}{crops}"


def _timed(workloads: Sequence[Workload], effort: Effort, listener: Listener) -> BenchResult:
    def measure() -> BenchResult:
        return time_interleaved(workloads, effort=effort, listener=listener)

    return when_quiet(effort.wait_quiet_s, measure, listener=listener)


def _known(path: Path, wanted: set[str], effort: Effort) -> TimedModels | None:
    """An earlier measurement, if it is of this machine, as thorough, and of everything wanted; a file that an older
    edge-tl wrote is measured again, and where a quiet machine is waited for one of a busy machine."""
    if not path.is_file():
        return None
    try:
        found = TimedModels.from_json(read_json(path))
    except BadInput:
        return None
    thorough = (found.method.rounds, found.method.count, found.method.blocks)
    if (
        effort.wait_quiet_s
        and found.bench
        and busy_reason(found.bench.conditions, found.machine.cores_allowed)
    ):
        return None  # it decided nothing, and somebody waits for one that does
    same = found.machine == identity() and thorough == (effort.rounds, effort.count, effort.blocks)
    return found if same and wanted <= found.bytes.keys() | found.unmeasured.keys() else None


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
