"""A run to a proven bundle: export, quantize, compare, time, verify; nothing leaves unverified.

It must not print. The folder becomes a bundle when its last file, `bundle.json`, is moved into it; until then
everything lies in a hidden sub-folder that no verb takes for a bundle.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_tl.host import checkpoint, keeping, zoo
from edge_tl.host.bundling import evidence, verdict
from edge_tl.host.bundling.artifacts import PRECISIONS, sets_of, write_artifacts
from edge_tl.host.bundling.judgement import anonymous, judge
from edge_tl.host.images.data import Dataset
from edge_tl.host.listeners import Note, no_note
from edge_tl.host.pages.page import write_page
from edge_tl.host.provenance import provenance
from edge_tl.host.reference import CUDA_MODES, TorchRuntime, cuda_at_hand
from edge_tl.host.settings import Recipe
from edge_tl.target import bundle as bundles
from edge_tl.target.bundle import REFERENCE
from edge_tl.target.contract import Preprocess
from edge_tl.target.errors import EdgeTLError, ForeignModel
from edge_tl.target.files import fsync_folder, write_atomic
from edge_tl.target.machine import cores_allowed
from edge_tl.target.progress import Progress, no_progress
from edge_tl.target.report import markdown
from edge_tl.target.runtimes import sandbox
from edge_tl.target.timing.bench import Effort, bench, contestants
from edge_tl.target.timing.children import Contestant
from edge_tl.target.verify import verify

_STAGING = ".partial-"
REPORTS = ("report.json", "report.md", "report.html")
BUNDLE_FILES = (
    bundles.RECORD,
    "golden",
    *REPORTS,
    *(f"model.{precision}.{kind}" for precision in PRECISIONS for kind in ("onnx", "xml", "bin")),
)


def export(
    run: Path,
    out: Path | None,
    recipe: Recipe,
    *,
    effort: Effort,
    overwrite: bool = False,
    progress: Progress = no_progress,
    note: Note = no_note,
) -> dict[str, Any]:
    """Export the run to `out` (default `exported/NAME`, numbered where that is another bundle) and return the bundle's
    record with `bundle`, its path.

    `recipe.export` holds the budgets. A gate that fails is in the record (`passed` false); everything is still
    saved. Raises `BadInput` when the run or its images are not as they were, and, without `overwrite`, when `out` is a
    bundle already; `out` is then unchanged.
    """
    model, saved = checkpoint.load(run)
    dataset = Dataset.from_json(saved["data"], saved["labels"])
    contract = replace(Preprocess.from_json(saved["preprocess"]), max_pixels=recipe.data.max_pixels)
    sets = sets_of(dataset, contract, recipe)
    evidence.check_images(dataset, [sample for samples in sets.values() for sample in samples])
    made_of = {
        "recipe": anonymous(provenance(recipe))["recipe"],
        "weights_sha256": saved["files"][0]["sha256"],
    }
    out = keeping.bundle_folder(
        Path("exported") / saved["name"], made_of, out, overwrite=overwrite, note=note
    )
    ours = not out.exists()
    checkpoint.claim(out, BUNDLE_FILES)
    for stale in out.glob(f"{_STAGING}*"):
        shutil.rmtree(stale)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=out))
    try:
        reference = TorchRuntime(model)
        artifacts, missing = write_artifacts(
            reference, staging, contract, dataset, sets, recipe, progress, note
        )
        record = judge(reference, artifacts, staging, contract, dataset, sets, saved, recipe, progress)
        record["name"] = out.name
        record["provenance"] |= made_of | {"run": os.path.relpath(run.resolve(), out.resolve())}
        bundles.write_record(staging, record)
        if recipe.export.max_p95_ms is not None:
            effort = effort.supporting(0.95)
        timing = _timed(staging, run, record, effort, progress)
        checked = verify(bundles.read_bundle(staging), progress=progress)
        verdict.conclude(record, timing, checked, recipe.export, missing)
        bundles.write_record(staging, record, {"bench": timing, "verify": checked})
        write_atomic(staging / "report.md", markdown(record).encode())
        write_page(record, staging / "report.html")
        _publish(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if ours:
            with suppress(OSError):  # what holds something stays
                out.rmdir()
    for gate in record["gates"]:
        if not gate["passed"]:
            note(f"gate {gate['gate']} failed for {gate['artifact']}: {gate['reason']}")
    return record | {"bundle": str(out)}


def torch_contestants(run: Path | None, record: dict[str, Any], *, device: str = "CPU") -> list[Contestant]:
    """PyTorch's side of a bench: on the CPU, and for a `device` that is an NVIDIA GPU there too, eager and as a CUDA
    graph. `run` is the caller's, never one that the record names. Without it the same architecture, untrained, stands
    in, because time does not depend on the weights. Nobody, where the record does not name the model.

    Raises `ForeignModel` where the record names one that is not of the zoo, and there is no run."""
    provenance = record["provenance"]
    if "model" not in provenance:
        return []
    at_hand = run is not None and (run / checkpoint.RECORD).is_file()
    spec = {
        "run": str(run) if at_hand else None,
        **({} if at_hand else _of_the_zoo(provenance)),
        "classes": len(record["labels"]),
        "shape": [1, 3, *Preprocess.from_json(record["preprocess"]).input_size],
        "threads": cores_allowed(),
    }
    field = [Contestant(REFERENCE, "edge_tl.host.reference", spec)]
    if device.upper() in ("CUDA", "TENSORRT") and cuda_at_hand():
        for mode in CUDA_MODES:
            field.append(Contestant(f"{REFERENCE}-{mode}", "edge_tl.host.reference", spec | {"device": mode}))
    return field


def _of_the_zoo(provenance: dict[str, Any]) -> dict[str, Any]:
    """`{model, pooled, hidden}` of a record that may be anybody's."""
    name, hidden = provenance["model"], provenance.get("hidden", [])
    if not isinstance(name, str) or not zoo.is_known(name):
        raise ForeignModel(
            f"its record names the model {str(name)[:80]!r}, which is not built here unasked. Give its run: --run DIR"
        )
    few = isinstance(hidden, list) and len(hidden) <= 8
    if not few or not all(type(n) is int and 0 < n <= 65536 for n in hidden):
        raise ForeignModel("its record names a head that no edge-tl makes. Give its run: --run DIR")
    return {"model": name, "pooled": provenance.get("pooled") is True, "hidden": hidden}


def _timed(
    staging: Path, run: Path, record: dict[str, Any], effort: Effort, progress: Progress
) -> dict[str, Any]:
    sealed = bundles.read_bundle(staging)
    for artifact in sealed.artifacts:
        sandbox.remember(artifact.path)  # made here, and judged on every image
    field = [*torch_contestants(run, record), *contestants(sealed, sealed.artifacts)]
    return bench(field, effort=effort, seed=record["provenance"]["seed"], progress=progress)


def _publish(staging: Path, out: Path) -> None:
    """Move the finished files up; `bundle.json` leaves first and arrives last."""
    (out / bundles.RECORD).unlink(missing_ok=True)
    for name in BUNDLE_FILES[1:]:
        old = out / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if (staging / name).exists():
            os.replace(staging / name, old)
    fsync_folder(out)
    os.replace(staging / bundles.RECORD, out / bundles.RECORD)
    fsync_folder(out)
    if not bundles.read_bundle(out).artifacts:
        raise EdgeTLError(f"{out}: the written bundle does not read back. Export again.")
