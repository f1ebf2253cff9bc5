"""Write the record of an export or of a run as one HTML file that needs nothing beside it.

Must not format a number (target.tables does) or ask the network for anything.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge_tl.device import metrics as device_metrics
from edge_tl.device.files import write_atomic
from edge_tl.device.format import number, words
from edge_tl.device.text import printable
from edge_tl.host.reports import (
    confidence_tables,
    heatmap,
    ladder_tables,
    markdown,
    plots,
    run_tables,
    tables,
)

LARGEST_HEATMAP = 30  # classes; beyond that nobody finds the cell that matters
PAIRS = 30
LISTED = 200  # changed or skipped images on the page; the record holds all of them


def write_page(record: dict[str, Any], path: Path) -> None:
    """The page of a bundle record (`bundle.json`)."""
    artifacts = record.get("artifacts") or []
    shipped = next((a for a in artifacts if a.get("id") == record.get("recommended")), None)
    matrix = (shipped or {}).get("confusion")
    owner = shipped["id"] if shipped and matrix else "PyTorch"
    split = (record.get("reference") or {}).get("split")
    provenance = record.get("provenance") or {}
    _write(
        path,
        record,
        kind="bundle",
        sentence=markdown.sentence(record),
        good=shipped is not None,
        rows=markdown.table(record),
        notes=markdown.how_to_read(record),
        measured_on=markdown.measured_on(record),
        timed_on=markdown.timed_on(record),
        latency=plots.latency(record),
        drop=plots.drop(record),
        confusion=_confusion(record, matrix or (record.get("reference") or {}).get("confusion")),
        owner=words(f"{owner} on {split}" if split else owner),
        ladder=ladder_tables,
        rungs=ladder_tables.rungs(record),
        layers=ladder_tables.layers(record),
        sensitivity=plots.sensitivity(record),
        confidence=confidence_tables,
        confidences=confidence_tables.confidence(record),
        confidence_notes=confidence_tables.how(record),
        proven=confidence_tables.proven(record),
        gates=tables.gates(record),
        failures=tables.failures(record),
        changed=[(words(a.get("id")), tables.changed(a)) for a in artifacts],
        ran=tables.ran(record),
        machine=tables.facts(provenance.get("host") or {}),
        provenance=provenance,
    )


def write_run_page(run_record: dict[str, Any], path: Path) -> None:
    """The page of a fine-tuning run (`run.json`)."""
    metrics, data = run_record.get("metrics") or {}, run_record.get("data") or {}
    head, history = run_tables.head(run_record), run_record.get("history") or []
    facts = tables.facts({key: run_record.get(key) for key in ("model", "weights", "strategy")})
    lines = (
        run_tables.strategy(run_record),
        run_tables.kept(run_record),
        run_tables.cross_validation(run_record),
        run_tables.unjudged(run_record),
        run_tables.passed_over(run_record),
    )
    epochs = run_tables.epochs(history)
    stages = [name for name, _ in groupby(row["stage"] for row in epochs)]
    _write(
        path,
        run_record,
        kind="run",
        sentence=markdown.run_sentence(run_record),
        good=True,
        sizes=[(words(split), number(n, 0)) for split, n in (data.get("n") or {}).items()],
        facts=facts + ([("head", head)] if head else []),
        lines=[line for line in lines if line],
        scores=run_tables.scores(run_record),
        scores_mean=run_tables.SCORES_MEAN if metrics.get("ece") is not None else None,
        curves=plots.curves(history),
        best=run_tables.NO_BETTER
        if run_tables.best_epoch(history) is None
        else "Ring: the best epoch, whose weights were kept.",
        stages=stages if len(stages) > 1 else [],
        epochs=epochs,
        epoch_columns=run_tables.epoch_columns(epochs),
        split=words(metrics.get("split")),
        owner=f"PyTorch on {words(metrics.get('split'))}",
        confusion=_confusion(run_record, metrics.get("confusion")),
        classes=tables.per_class(run_record),
        aside=[(key, tables.put_aside(run_record, key)) for key in ("skipped", "duplicates")],
        tried=run_tables.tried(run_record),
        seconds=[(words(k), number(v, 1)) for k, v in (run_record.get("seconds") or {}).items()],
        provenance={"preprocess": run_record.get("preprocess"), **(run_record.get("provenance") or {})},
    )


def _confusion(record: dict[str, Any], matrix: device_metrics.Confusion | None) -> dict[str, Any]:
    labels = record.get("labels") or []
    if not matrix or device_metrics.classes_of(matrix) != len(labels):
        return {"svg": None, "pairs": []}
    if isinstance(matrix, list) and len(labels) <= LARGEST_HEATMAP:
        return {"svg": heatmap.heatmap(matrix, labels), "pairs": []}
    return {"svg": None, "pairs": tables.confused(matrix, labels, PAIRS)}


def _write(path: Path, record: dict[str, Any], **parts: Any) -> None:
    shades = [f"up to {end:.0%}" if end else "none" for end in heatmap.SHADES]
    render("page.html.j2", path, record, t=tables, listed=LISTED, shades=shades, **parts)


def render(template: str, path: Path, record: dict[str, Any], **parts: Any) -> None:
    """Fill `template`, which extends layout.html.j2, and write it to `path`."""
    # Autoescape for every file, whatever its name: labels and paths are what people typed.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    provenance = json.dumps(parts.pop("provenance"), indent=2, ensure_ascii=False)
    html = environment.get_template(template).render(
        name=words(record.get("name")), provenance=provenance, **parts
    )
    # Whatever way a name took into the page, it does nothing to whoever reads it.
    shown = printable(html.lstrip(), keep="\n\t\u200d")
    write_atomic(path, shown.encode("utf-8", "backslashreplace"))
