"""The record of a bundle or of a run as one HTML file that needs nothing beside it. Asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edge_tl.device.files import write_atomic
from edge_tl.device.format import one_line, percentage
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Json
from edge_tl.device.text import printable
from edge_tl.host.reports import (
    bundle_tables,
    confidence_tables,
    heatmap,
    ladder_tables,
    plots,
    reproduce,
    resize_tables,
    run_tables,
    sentences,
)
from edge_tl.host.reports.answer_pictures import answer_cards
from edge_tl.host.reports.bundle_figures import bundle_figures, run_figures
from edge_tl.host.reports.confusion_maps import confusion_map, confusion_maps
from edge_tl.host.reports.contact_sheet import contact_sheet
from edge_tl.host.reports.glossary import explained_words
from edge_tl.host.reports.summary_card import summary_card
from edge_tl.host.reports.table import FOLDS, named_values
from edge_tl.host.runs.record import RunRecord

SCRIPT = Path(__file__).with_name("page.js")  # the only one that a page may run, by its hash
LISTED = 200  # changed or skipped images on the page; the record holds all of them


def write_bundle_page(record: BundleRecord, path: Path) -> None:
    """The page of a bundle."""
    sentence, rest = sentences.summary(record)
    changed = [(one_line(a.id), bundle_tables.changed_answers(a)) for a in record.artifacts]
    _write(
        path,
        record.name,
        kind="bundle",
        sentence=sentence,
        rest=rest,
        summary=summary_card(record),
        good=record.recommended is not None,
        artifacts=bundle_tables.artifact_table(record),
        measured_on=sentences.measured_on(record),
        timed_on=sentences.timed_on(record),
        drop=plots.drop(record),
        confusion=confusion_maps(record),
        **bundle_figures(record)._asdict(),
        rungs=ladder_tables.rung_table(record),
        how_rungs=ladder_tables.HOW,
        layers=ladder_tables.layer_table(record),
        how_layers=ladder_tables.HOW_LAYERS,
        sensitivity=plots.sensitivity(record),
        confidence=confidence_tables.confidence_table(record),
        how_confidence=confidence_tables.how_to_read_confidence(record),
        proven=confidence_tables.proven_table(record),
        how_proven=confidence_tables.how_to_read_proven(record),
        gates=bundle_tables.gate_table(record),
        failures=bundle_tables.failed_gates(record),
        cards=answer_cards(record),
        changed=[(name, bundle_tables.count_changes(table), table) for name, table in changed],
        executed=bundle_tables.executed_table(record),
        steps=reproduce.bundle_reproduction(record),
        machine=named_values(record.provenance.host),
        provenance=record.provenance.to_json(),
    )


def write_run_page(record: RunRecord, path: Path) -> None:
    """The page of a fine-tuning run."""
    head = run_tables.head(record)
    named = {"model": record.model, "weights": record.weights, "strategy": record.strategy}
    split, compared = record.metrics.split, record.resize_comparison
    _write(
        path,
        record.name,
        kind="run",
        sentence=sentences.run_sentence(record),
        rest="",
        good=True,
        facts=[
            *((name, one_line(value)) for name, value in named.items()),
            *([("head", head)] if head else []),
            *run_tables.split_sizes(record),
        ],
        lines=sentences.run_lines(record),
        scores=run_tables.scores(record.metrics),
        scores_mean=run_tables.SCORES_MEAN,
        split=split,
        confusion=[confusion_map(record.metrics.confusion, record.labels, f"PyTorch on {split}")],
        **run_figures(record)._asdict(),
        classes=run_tables.class_table(record),
        steps=reproduce.run_reproduction(record),
        machine=named_values(record.provenance.host.to_json()),
        left_out=[
            ("Skipped images", run_tables.skipped_table(record)),
            ("Duplicate images", run_tables.duplicates_table(record)),
        ],
        tried=run_tables.tried_heads(record),
        crop_loss=resize_tables.loss_line(record.crop_loss) if record.crop_loss else None,
        sheet=contact_sheet(record),
        policies=resize_tables.policy_table(compared) if compared else None,
        conclusion=resize_tables.conclusion(compared) if compared else None,
        seconds=run_tables.seconds(record),
        provenance={"preprocess": record.preprocess.to_json(), **record.provenance.to_json()},
    )


def render(template: str, path: Path, name: str, provenance: Json, **parts: object) -> None:
    """Fill `template`, which extends layout.html.j2, and write it to `path`."""
    # Autoescape for every file, whatever its name: labels and paths are what people typed.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = json.dumps(provenance, indent=2, ensure_ascii=False)
    script = SCRIPT.read_text("utf-8")
    html = environment.get_template(template).render(
        name=one_line(name),
        provenance=text,
        folds=list(FOLDS),
        explained_words=explained_words,
        script=Markup(script),  # the package's own file
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        **parts,
    )
    # Whatever way a name took into the page, it does nothing to whoever reads it.
    shown = printable(html.lstrip(), keep="\n\t\u200d")
    write_atomic(path, shown.encode("utf-8", "backslashreplace"))


def _write(path: Path, name: str, provenance: Json, **parts: object) -> None:
    shades = [f"up to {percentage(end, 0)}" if end else "none" for end in heatmap.SHADES]
    depths = [f"up to {percentage(end, 0)}" for end in heatmap.SIGNED[:-1]] + ["more than that"]
    render("page.html.j2", path, name, provenance, listed=LISTED, shades=shades, depths=depths, **parts)
