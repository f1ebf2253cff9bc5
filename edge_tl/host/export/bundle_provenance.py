"""What a bundle was made of, as its record says it: nothing in it tells where files lay on the host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edge_tl.device.records.bundle import ProvenanceRecord
from edge_tl.host.export.job import ExportJob
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.provenance import provenance
from edge_tl.host.runs.record import RunRecord


def made_of(recipe: Recipe, saved: RunRecord) -> dict[str, Any]:
    """What tells a bundle from another one: `{recipe, weights_sha256}`."""
    return {"recipe": _anonymous(provenance(recipe).to_json())["recipe"], "weights_sha256": saved.sha256}


def provenance_record(job: ExportJob, run: Path, out: Path) -> ProvenanceRecord:
    """Of the bundle that `job` makes of the run in the folder `run`, to lie in the folder `out`."""
    own, saved = _anonymous(provenance(job.recipe).to_json()), job.saved
    return ProvenanceRecord(
        recipe=own["recipe"],
        seed=own["seed"],
        versions=own["versions"],
        host=own["host"],
        model=saved.model,
        pooled=saved.pooled,
        hidden=tuple(saved.hidden),
        weights=saved.weights,
        strategy=saved.strategy,
        finetune=_anonymous(saved.provenance.to_json()),
        sets=job.dataset.counts() | {name: len(samples) for name, samples in job.sets.items()},
        weights_sha256=saved.sha256,
        run=os.path.relpath(run.resolve(), out.resolve()),
    )


def _anonymous(content: dict[str, Any]) -> dict[str, Any]:
    """Without the host's paths: a bundle travels."""
    recipe = json.loads(json.dumps(content["recipe"]))
    for section, key in (("data", "path"), ("model", "weights")):
        recipe[section][key] = Path(str(recipe[section][key])).name
    return content | {"recipe": recipe}
