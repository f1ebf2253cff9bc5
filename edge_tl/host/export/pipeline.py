"""A run to a proven bundle: export, quantize, compare, time, verify; nothing leaves unverified.

Prints nothing. The folder becomes a bundle when its last file, `bundle.json`, is moved into it; until then
everything lies in a hidden sub-folder that no verb takes for a bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_tl.device import bundle as bundles
from edge_tl.device import model_card
from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.quiet import when_quiet
from edge_tl.device.bench.workers import Workload
from edge_tl.device.bench.workloads import startable, workloads
from edge_tl.device.bundle import REFERENCE
from edge_tl.device.errors import EdgeTLError, ForeignModel
from edge_tl.device.gates import verify
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord, ProvenanceRecord
from edge_tl.device.runtimes import sandbox
from edge_tl.device.tuning import pick_file
from edge_tl.host.convert.image_input import check_can_be_inside
from edge_tl.host.export import gates, goldens, image_sets, kept_inputs
from edge_tl.host.export.artifacts import PRECISIONS, sets_of, write_artifacts
from edge_tl.host.export.bundle_provenance import made_of, provenance_record
from edge_tl.host.export.evaluation import evaluate_artifacts, remove_files
from edge_tl.host.export.image_artifacts import with_image_artifacts
from edge_tl.host.export.image_costs import outside_workloads, with_costs
from edge_tl.host.export.job import ExportJob
from edge_tl.host.export.kept_inputs import KeptInputs
from edge_tl.host.export.publish import discard, is_interrupted, make_marked, marked, named, publish, recover
from edge_tl.host.export.step_times import time_recommended
from edge_tl.host.export.written_reports import Measured, write_reports
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.models import classifier, zoo
from edge_tl.host.models.reference import CUDA_MODES, TorchRuntime, cuda_is_available
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.folder_lock import one_writer

_STAGING = ".partial-"
REPORTS = ("report.json", "report.md", "report.html")
BUNDLE_FILES = (
    bundles.RECORD,
    "golden",
    bundles.README,
    model_card.CARD,
    pick_file.FOLDER,  # of the bundle before: no artifact is the one that was tuned
    *REPORTS,
    *(
        f"model.{precision}{kind}.{suffix}"
        for precision in PRECISIONS
        for kind in ("", "-image")
        for suffix in ("onnx", "xml", "bin")
    ),
)


def export(
    run: Path,
    out: Path | None,
    recipe: Recipe,
    *,
    effort: Effort,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Export the run to `out` (default `exported/NAME`, numbered where that is another bundle) and return the bundle's
    record with `bundle`, its path.

    `recipe.export` holds the budgets. A gate that fails is in the record (`passed` false); everything is still
    saved. Raises `BadInput` when the run or its images are not as they were, and, without `overwrite`, when `out` is a
    bundle already; `out` is then unchanged.
    """
    model, saved = checkpoint.load_run(run)
    dataset = saved.dataset()
    contract = replace(saved.preprocess, max_pixels=recipe.data.max_pixels)
    for said in classifier.check_classifier(
        model, contract.input_size, saved.model, classes=len(dataset.labels)
    ).notes:
        listener.note(said)
    if recipe.export.input != "tensor":
        check_can_be_inside(contract)
    sets = sets_of(dataset, contract, recipe)
    image_sets.check_images(dataset, [sample for samples in sets.values() for sample in samples])
    base = Path("exported") / saved.name
    _recover([out] if out else _numbered(base))
    out = output_folder.bundle_folder(
        base, made_of(recipe, saved), out, overwrite=overwrite, listener=listener
    )
    if out.exists():  # else whoever locks it makes it, and takes it away again where nothing came of it
        checkpoint.claim(out, BUNDLE_FILES, _is_ours)
    try:
        with one_writer(out), _staged(out) as staging, IsolatedProcess() as isolated:
            job = ExportJob(
                reference=TorchRuntime(model),
                saved=saved,
                dataset=dataset,
                contract=contract,
                sets=sets,
                recipe=recipe,
                staging=staging,
                isolated=isolated,
                inputs=_kept_inputs(staging, dataset, contract, recipe),
                listener=listener,
            )
            record = evaluate_artifacts(job, write_artifacts(job), provenance_record(job, run, out), out.name)
            record = with_image_artifacts(job, record, image_sets.evaluation_set(dataset)[1])
            record = _finish(job, run, record, effort)
            publish(staging, out, BUNDLE_FILES)
    except OSError as error:
        raise named(out, error) from error
    if not bundles.read_bundle(out).artifacts:
        raise EdgeTLError(f"{out}: the written bundle does not read back. Export again.")
    for gate in record.gates:
        if not gate.passed:
            listener.note(f"gate {gate.gate} failed for {gate.artifact}: {gate.reason}")
    return record.to_json() | {"bundle": str(out)}


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A hidden folder in `out`, gone at the end; and those of exports that were killed, since `out` is locked."""
    for stale in marked(out, _STAGING):
        discard(stale)
    staging = make_marked(out, _STAGING)
    try:
        yield staging
    finally:
        with suppress(OSError):  # what was to be told is being raised; the next export removes the rest
            discard(staging)


def _kept_inputs(staging: Path, dataset: Dataset, contract: Preprocess, recipe: Recipe) -> KeptInputs:
    """Of what INT8 is evaluated on, and then again under lesser instruction sets."""
    samples = image_sets.evaluation_set(dataset)[1] if recipe.export.int8 else []
    some = {sample.digest for sample in kept_inputs.fitting(contract, samples, recipe.seed)}
    wanted = [sample for sample in samples if sample.digest in some]  # in the order of the evaluation
    return KeptInputs(staging / "scratch" / "inputs.f32", contract, dataset, wanted)


def _is_ours(out: Path) -> bool:
    """Whether the folder is a bundle, or what an export that was killed has left: a `golden/` alone is somebody's."""
    return (out / bundles.RECORD).is_file() or bool(marked(out, _STAGING))


def _numbered(base: Path) -> list[Path]:
    """`base` and the numbered folders beside it, and nothing else that begins with the name."""
    of_its_name = re.compile(rf"{re.escape(base.name)}(-\d+)?")
    there = base.parent.iterdir() if base.parent.is_dir() else ()
    return sorted(path for path in there if of_its_name.fullmatch(path.name))


def _recover(folders: Iterable[Path]) -> None:
    """Repair what an export that was killed while it published has left: the old bundle is put back."""
    for folder in folders:
        if folder.is_dir() and is_interrupted(folder):
            with one_writer(folder):
                recover(folder, BUNDLE_FILES)


def _finish(job: ExportJob, run: Path, record: BundleRecord, effort: Effort) -> BundleRecord:
    """Time, verify and conclude what `record` holds, and write it with its reports."""
    job.isolated.close()  # before anything is timed
    job.inputs.forget()
    bundles.write_record(job.staging, record)
    if job.recipe.export.max_p95_ms is not None:
        effort = effort.supporting(0.95)
    record, timing = _timed(job, run, record, effort)
    checked = verify(bundles.read_bundle(job.staging), listener=job.listener)
    record = gates.conclude(record, timing, checked, job.recipe.export, job.missing)
    steps = time_recommended(job, record) if effort.steps else None
    return write_reports(job, record, Measured(timing, checked, steps))


def torch_workloads(run: Path | None, record: BundleRecord, *, device: str = "CPU") -> list[Workload]:
    """PyTorch's side of a bench: on the CPU, and for a `device` that is an NVIDIA GPU there too, eager and as a CUDA
    graph. `run` is the caller's, never one that the record names. Without it the same architecture, untrained, stands
    in, because time does not depend on the weights. Nobody, where the record does not name the model.

    Raises `ForeignModel` where the record names one that is not of the zoo, and there is no run."""
    if record.provenance.model is None:
        return []
    at_hand = run is not None and (run / checkpoint.RECORD).is_file()
    spec = {
        "run": str(run) if at_hand else None,
        **({} if at_hand else _of_the_zoo(record.provenance)),
        "classes": len(record.labels),
        "shape": [1, 3, *record.preprocess.input_size],
        "five_crop": record.preprocess.five_crop,
        "threads": cores_allowed(),
    }
    field = [Workload(REFERENCE, "edge_tl.host.models.reference", spec, slow_start=True)]
    if device.upper() in ("CUDA", "TENSORRT") and cuda_is_available():
        for mode in CUDA_MODES:
            field.append(
                Workload(f"{REFERENCE}-{mode}", "edge_tl.host.models.reference", spec | {"device": mode})
            )
    return field


def _of_the_zoo(provenance: ProvenanceRecord) -> dict[str, Any]:
    """`{model, pooled, hidden}` of a record that may be anybody's."""
    name, hidden = provenance.model or "", provenance.hidden or ()
    if not zoo.is_known(name):
        raise ForeignModel(
            f"its record names the model {name[:80]!r}, which is not built here unasked. Give its run: --run DIR"
        )
    if len(hidden) > 8:
        raise ForeignModel("its record names a head that no edge-tl makes. Give its run: --run DIR")
    return {"model": name, "pooled": bool(provenance.pooled), "hidden": list(hidden)}


def _timed(
    job: ExportJob, run: Path, record: BundleRecord, effort: Effort
) -> tuple[BundleRecord, BenchResult]:
    """The bench of all that can be timed; an artifact that cannot is an entry, and leaves the record. What is timed
    beside one of raw pixels may be lost without that."""
    lost_beside: dict[str, str] = {}
    while True:
        sealed = bundles.read_bundle(job.staging)
        for artifact in sealed.artifacts:
            # Made here, and run on every image.
            sandbox.mark_tested(artifact.path, size=sealed.preprocess.input_size)
        outside = [each for each in outside_workloads(sealed) if each.id not in lost_beside]
        for workload in outside:
            sandbox.mark_tested(Path(workload.spec["path"]), size=sealed.preprocess.input_size)
        field = [*torch_workloads(run, sealed.record), *workloads(sealed, sealed.artifacts), *outside]

        def measure(field: list[Workload] = field) -> BenchResult:
            return time_interleaved(field, effort=effort, seed=job.recipe.seed, listener=job.listener)

        try:
            timing = when_quiet(effort.wait_quiet_s, measure, listener=job.listener)
            busy = busy_reason(timing.conditions, timing.machine.cores_allowed)
            return with_costs(record, timing, busy, lost_beside)
        except EdgeTLError as error:
            reasons = {entry.artifact: entry.reason for entry in startable(field)[1]}
            lost = [artifact for artifact in record.artifacts if artifact.id in reasons]
            beside = {each.id: reasons[each.id] for each in outside if each.id in reasons}
            if not (lost or beside) or len(lost) == len(record.artifacts):
                raise error
            lost_beside |= beside
        record = _without(job, record, {artifact.id: reasons[artifact.id] for artifact in lost})
        bundles.write_record(job.staging, record)


def _without(job: ExportJob, record: BundleRecord, reasons: dict[str, str]) -> BundleRecord:
    """The record without the artifacts that cannot be timed, whose files and golden logits go; `reasons` says why."""
    for artifact in record.artifacts:
        if artifact.id in reasons:
            job.lacks(artifact.id, reasons[artifact.id])
            remove_files(job.staging, [file.path for file in artifact.files])
    return replace(
        record,
        artifacts=tuple(artifact for artifact in record.artifacts if artifact.id not in reasons),
        golden=goldens.without_logits(job.staging, record.golden, reasons),
    )
