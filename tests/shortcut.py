"""`python shortcut.py BUNDLE VERB …`: edge-tl with BUNDLE's model files and timings in place of new ones.

Exporting takes a minute, and so would every test of what `pack` does with the result. `STRIKE=MOMENT:SIGNAL` ends
the process at a moment of an export: a step of its progress, or `publish-K`, before the K-th file moves up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def install(bundle: Path, patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let `pack` copy the model files of `bundle` and read its timings; everything else is the real thing."""
    from edge_tl.device.bench.workloads import OUTSIDE
    from edge_tl.device.records.bench import BenchResult
    from edge_tl.host.convert.fp32 import OnnxVersions
    from edge_tl.host.export import artifacts, pipeline
    from edge_tl.host.int8.records import LadderRecord

    record = json.loads((bundle / "report.json").read_text(encoding="utf-8"))
    made = {artifact["id"]: artifact for artifact in record["artifacts"]}

    def give(to: Path) -> None:
        for suffix in (".onnx",) if to.suffix == ".onnx" else (".xml", ".bin"):
            shutil.copy(bundle / to.with_suffix(suffix).name, to.with_suffix(suffix))

    def to_onnx(model: Any, path: Path, *rest: Any) -> OnnxVersions:
        give(path)
        keys = ("opset", "ir_version", "runtime_floor")
        return OnnxVersions.from_json({key: made["onnx-fp32"][key] for key in keys})

    def climb(source: Any, runtime: str, *rest: Any, **more: Any) -> Any:
        record = LadderRecord.from_json(made[f"{runtime}-int8"]["ladder"])
        return SimpleNamespace(
            best=SimpleNamespace(record=record.chosen), record=replace(record, passed=True)
        )

    def time_interleaved(workloads: list[Any], **options: Any) -> BenchResult:
        options["listener"].progress("latency", 0, 1)
        names = {workload.id for workload in workloads}
        timing = BenchResult.from_json(record["bench"])
        lent = [replace(row, id=name) for row in timing.artifacts for name in (row.id, row.id + OUTSIDE)]
        return replace(timing, artifacts=tuple(row for row in lent if row.id in names))

    patch(artifacts, "to_onnx", to_onnx)
    patch(artifacts, "_to_openvino", lambda job, onnx, xml: give(xml))
    patch(artifacts.ladder, "climb", climb)
    patch(artifacts, "move_files", lambda best, to: give(to))
    patch(pipeline, "time_interleaved", time_interleaved)


def _strike(wanted: str, number: signal.Signals) -> None:
    from edge_tl.cli._training_listeners import PlainTrainingListener

    shown, replace, moved = PlainTrainingListener.progress, os.replace, [0]

    def strike(moment: str) -> None:
        if moment == wanted:
            os.kill(os.getpid(), number)

    def watched(self: PlainTrainingListener, what: str, done: int, total: int) -> None:
        shown(self, what, done, total)
        strike(what)

    def counted(source: Any, target: Any) -> None:
        if (
            Path(source).parent.name.startswith(".partial-")
            and Path(target).parent == Path(source).parents[1]
        ):
            strike(f"publish-{moved[0]}")
            moved[0] += 1
        replace(source, target)

    PlainTrainingListener.progress = watched  # type: ignore[method-assign, assignment]
    os.replace = counted  # type: ignore[assignment]


if __name__ == "__main__":
    from edge_tl.cli import main

    install(Path(sys.argv[1]))
    if "STRIKE" in os.environ:
        moment, _, name = os.environ["STRIKE"].partition(":")
        _strike(moment, signal.Signals[name])
    main(sys.argv[2:])
