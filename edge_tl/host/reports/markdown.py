"""The record of a bundle or of a run as one Markdown text. Measures nothing and touches no file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edge_tl.device.format import DASH, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports import (
    bundle_tables,
    confidence_tables,
    ladder_tables,
    resize_tables,
    run_tables,
    sentences,
)
from edge_tl.host.reports.confusion import is_of, most_confused
from edge_tl.host.reports.pair_page import difference_table, pair_lines
from edge_tl.host.reports.pair_record import PairRecord
from edge_tl.host.reports.table import Table, named_values
from edge_tl.host.runs.record import RunRecord

SHOWN = 20  # rows of a list that are shown; the record holds all of them


def bundle_markdown(record: BundleRecord) -> str:
    """The whole report of a bundle."""
    parts = [f"# {_escape(record.name)}", f"**{_escape(sentences.recommendation(record))}**"]
    parts += [_escape(line) for line in (sentences.measured_on(record), sentences.timed_on(record)) if line]
    parts += [_table(bundle_tables.artifact_table(record))]
    parts += ["## How to read it", _bullets(sentences.how_to_read(record))]
    for heading, table, how in (
        ("The ladder to INT8", ladder_tables.rung_table(record), ladder_tables.HOW),
        ("Sensitive layers", ladder_tables.layer_table(record), ladder_tables.HOW_LAYERS),
        (
            "Confidence",
            confidence_tables.confidence_table(record),
            confidence_tables.how_to_read_confidence(record),
        ),
        ("Proven on", confidence_tables.proven_table(record), confidence_tables.how_to_read_proven(record)),
    ):
        if table.rows:
            parts += [f"## {heading}", _table(table), how]
    if failed := bundle_tables.failed_gates(record):
        lines = (
            f"- **{_escape(row['gate'])}**, {_escape(row['artifact'])}: measured {_escape(row['measured'])}, "
            f"limit {_escape(row['limit'])}. Means: {meaning}. Here: {_escape(row['reason'])}"
            for row, meaning in failed
        )
        parts += ["## Gates that failed", "\n".join(lines)]
    for artifact in record.artifacts:
        changed = bundle_tables.changed_answers(artifact)
        if changed.rows:
            count = bundle_tables.count_changes(changed)
            parts += [f"## Images whose answer changed: {_escape(artifact.id)}, {count}"]
            parts += _first_rows(changed, "report.json")
    machine = named_values(record.provenance.host)
    parts += ["## What ran", _table(bundle_tables.executed_table(record))]
    parts += ["## Measured on", _bullets(f"{name}: {text}" for name, text in machine) or DASH]
    return "\n\n".join(parts) + "\n"


def run_markdown(record: RunRecord) -> str:
    """The whole report of a fine-tuning run."""
    sizes = ", ".join(f"{split} {n}" for split, n in run_tables.split_sizes(record))
    head = run_tables.head(record)
    images = f"Weights: {one_line(record.weights)}. Images: {sizes}."
    parts = [f"# {_escape(record.name)}", f"**{_escape(sentences.run_sentence(record))}**"]
    parts += [_escape(f"{images} Head: {head}." if head else images)]
    parts += [_escape(line) for line in sentences.run_lines(record)]
    parts += ["## Figures", _bullets(f"{name}: {text}" for name, text in run_tables.scores(record.metrics))]
    parts += [run_tables.SCORES_MEAN, "## Classes", _table(run_tables.class_table(record))]
    parts += _resize(record)
    matrix = record.metrics.confusion
    if is_of(matrix, len(record.labels)) and (confused := most_confused(matrix, record.labels, SHOWN)).rows:
        parts += ["## Most confused", _table(confused)]
    if record.history:
        parts += ["## Epochs", *_epochs(record)]
    for heading, left_out in (
        ("Skipped images", run_tables.skipped_table(record)),
        ("Duplicate images", run_tables.duplicates_table(record)),
    ):
        if left_out.rows:
            parts += [f"## {heading} ({len(left_out.rows):,})", *_first_rows(left_out, "run.json")]
    parts += ["## Seconds", _bullets(f"{part}: {text}" for part, text in run_tables.seconds(record))]
    return "\n\n".join(parts) + "\n"


def pair_markdown(pair: PairRecord) -> str:
    """What two bundles or two runs differ in."""
    parts = [f"# {_escape(pair.a)} and {_escape(pair.b)}", f"**{_escape(pair.sentence)}**"]
    parts += [_table(difference_table(pair).telling()), *map(_escape, pair_lines(pair))]
    return "\n\n".join(parts) + "\n"


def _resize(record: RunRecord) -> list[str]:
    loss, compared = record.crop_loss, record.resize_comparison
    parts = ["## What the model sees of the images"] if loss or compared else []
    if loss:
        parts += [_escape(resize_tables.loss_line(loss)), _table(resize_tables.loss_table(loss))]
    if compared:
        table = _table(resize_tables.policy_table(compared))
        parts += ["### Other ways to resize", table, _escape(resize_tables.conclusion(compared))]
    return parts


def _epochs(record: RunRecord) -> list[str]:
    whole = run_tables.epoch_table(record.history)
    some = run_tables.thinned(whole, SHOWN)
    parts = [_table(some)]
    if len(some.rows) < len(whole.rows):
        parts.append(f"{len(some.rows)} of {len(whole.rows):,} epochs; run.json has all.")
    if run_tables.best_epoch(record.history) is None:
        parts.append(sentences.NO_BETTER)
    return parts


def _escape(value: object) -> str:
    """User text (labels, file names) must not become markup or split a table."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", one_line(value)).replace("<", "&lt;")
    text = re.sub(r"([\\`*|~$]|\](?=\())", r"\\\1", text)  # "](" would make a link
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # a_b is safe as it is, and reads better


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _table(table: Table) -> str:
    cells = [table.headings, *([text and _escape(text) for text in row] for row in table.cells)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [column.numeric for column in table.columns]
    rule = ["-" * (w - 1) + (":" if r else "-") for r, w in zip(right, widths, strict=True)]
    padded = [
        [t.rjust(w) if r else t.ljust(w) for t, r, w in zip(line, right, widths, strict=True)]
        for line in cells
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])


def _first_rows(table: Table, file: str) -> list[str]:
    more = [f"And {len(table.rows) - SHOWN:,} more in {file}."] if len(table.rows) > SHOWN else []
    return [_table(table.first(SHOWN)), *more]
