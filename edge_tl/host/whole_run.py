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
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.export import pipeline
from edge_tl.host.export.bundle_provenance import made_of
from edge_tl.host.images import listing
from edge_tl.host.recipe.schema import Recipe
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
    return WholeRun(result.run, there, bundles.read_report(there))


def _check_same_images(result: RunResult, recipe: Recipe) -> None:
    """Raises `BadInput` where a finished run is not of the images that are there now."""
    left_out = {skipped.path for skipped in result.record.data.skipped}
    there = listing.list_images(str(recipe.data.path), group_by=recipe.data.group_by)
    now = {sample.digest for sample in there.samples if sample.path not in left_out}
    then = {sample.digest for sample in result.record.dataset().samples}
    if now != then:
        raise BadInput(
            f"{recipe.data.path}: {len(now - then)} images are new and {len(then - now)} gone since {result.run} was "
            f"made. To train again add --overwrite; to use what is there: edge-tl export {result.run} --int8."
        )
