"""From a folder of images to a proven bundle in one go: fine-tune, export, verify, time, report. Never prints.

What is finished of the same settings is not made again, so that whoever was interrupted starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import time

from edge_tl.device import bundle as bundles
from edge_tl.device.bench.effort import QUICK, Effort
from edge_tl.device.errors import BadInput
from edge_tl.device.files import check_can_make
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.export import pipeline
from edge_tl.host.export.bundle_provenance import made_of
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Dataset, build_dataset
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.reports.page import write_bundle_page
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training.finetune import finetune

RUN, BUNDLE = "run", "bundle"


@dataclass(frozen=True)
class WholeRun:
    """The folders that were made, or found finished, and what the bundle's record says."""

    run: Path
    bundle: Path
    record: BundleRecord

    @property
    def report(self) -> Path:
        """The page that people open."""
        return self.bundle / "report.html"


def whole_run(
    recipe: Recipe,
    out: Path | None = None,
    *,
    effort: Effort = QUICK,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> WholeRun:
    """Fine-tune and export as `recipe` says: to `runs/NAME` and `exported/NAME`, or to `run` and `bundle` below `out`.

    An unfinished training goes on from its last checkpoint, and a finished run or bundle of the same settings is taken
    as it is, unless `overwrite`. Raises what `finetune` and `export` do, and `BadInput` where images came or went since
    a finished run was made.
    """
    begun = time()
    check_can_make(out / BUNDLE if out else Path("exported"), "--out" if out else "bundle in")
    result = finetune(
        recipe, out and out / RUN, resumed=not overwrite, overwrite=overwrite, listener=listener
    )
    if (result.run / checkpoint.RECORD).stat().st_mtime < begun:
        _check_same_images(result, recipe)
    made = made_of(recipe, result.record)
    there = None
    if not overwrite:
        base = out / BUNDLE if out else Path("exported") / result.record.name
        there = output_folder.finished_bundle(base, made, numbered=out is None)
    if there is not None:
        listener.note(f"{there} is finished")
    else:
        found = pipeline.export(
            result.run, out and out / BUNDLE, recipe, effort=effort, overwrite=overwrite, listener=listener
        )
        there = Path(found["bundle"])
    bundles.read_bundle(there)  # a finished one may have been damaged since
    made_now = WholeRun(result.run, there, bundles.read_report(there))
    if not made_now.report.is_file():
        write_bundle_page(made_now.record, made_now.report)
    return made_now


def _check_same_images(result: RunResult, recipe: Recipe) -> None:
    """Raises `BadInput` where a finished run is not of the images, classes and weights that are there now."""
    data, record = recipe.data, result.record
    reasons = {skipped.path: skipped.reason for skipped in record.data.skipped}
    there = listing.list_images(str(data.path), group_by=data.group_by)
    bad = {sample.digest: reasons[sample.path] for sample in there.samples if sample.path in reasons}
    split = any(sample.split for sample in there.samples)  # else it is drawn, by the files' names
    now = _images(build_dataset(there, bad, data, seed=recipe.seed), split=split)
    then = _images(record.dataset(), split=split)
    if now != then:
        raise BadInput(
            f"{data.path}: {len(now - then)} images are new or have another class and {len(then - now)} are gone since "
            f"{result.run} was made. To train again add --overwrite; to use what is there: edge-tl export {result.run} "
            "--int8."
        )
    weights, made = Path(recipe.model.weights), (result.run / checkpoint.RECORD).stat().st_mtime
    if weights.is_file() and weights.stat().st_mtime > made:
        raise BadInput(
            f"--weights {weights}: the file is newer than {result.run}. To train again add --overwrite; to use what is "
            f"there: edge-tl export {result.run} --int8."
        )


def _images(dataset: Dataset, *, split: bool) -> set[tuple[str, str, str | None]]:
    """Of every image that is used the class, the digest and, where the data says it, the split."""
    return {(dataset.labels[s.label], s.digest, s.split if split else None) for s in dataset.samples}
