"""Write the record of an export or of a run as sentences and Markdown.

Must not measure, judge or touch a file: the record comes in as a dict and the text goes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.format import DASH, number, words
from edge_tl.host.reports import confidence_tables, ladder_tables, run_tables, tables
from edge_tl.host.reports.tables import (
    CHANGED,
    CONFUSED,
    FILES,
    PER_CLASS,
    RAN,
    TABLE,
    UNJUDGED,
    Column,
    Row,
    table,
)

__all__ = ["markdown", "run_markdown", "table"]

SHOWN = 20  # rows of a list that are shown; the record holds all of them


def markdown(record: dict[str, Any]) -> str:
    """The whole report of a bundle record as one Markdown text."""
    name = _escape(record.get("name"))
    parts = [f"# {name}", f"**{_escape(sentence(record))}**", _escape(measured_on(record))]
    parts += [_escape(line) for line in [timed_on(record)] if line]
    parts += [_table(TABLE, table(record)), "## How to read it", _bullets(how_to_read(record))]
    if rungs := ladder_tables.rungs(record):
        parts += ["## The ladder to INT8", _table(ladder_tables.RUNGS, rungs), ladder_tables.HOW]
    if layers := ladder_tables.layers(record):
        parts += ["## Sensitive layers", _table(ladder_tables.LAYERS, layers), ladder_tables.HOW_LAYERS]
    if rows := confidence_tables.confidence(record):
        parts += ["## Confidence", _table(confidence_tables.CONFIDENCE, rows)]
        parts += [confidence_tables.how(record)]
    if rows := confidence_tables.proven(record):
        parts += ["## Proven on", _table(confidence_tables.PROVEN, rows), confidence_tables.HOW_PROVEN]
    if failed := tables.failures(record):
        lines = (
            f"- **{_escape(row['gate'])}**, {_escape(row['artifact'])}: measured {_escape(row['measured'])}, "
            f"limit {_escape(row['limit'])}. Means: {meaning}. Here: {_escape(row['reason'])}"
            for row, meaning in failed
        )
        parts += ["## Gates that failed", "\n".join(lines)]
    for artifact in record.get("artifacts") or []:
        if rows := tables.changed(artifact):
            head = f"## Images whose answer changed: {_escape(artifact.get('id'))}, {tables.effects(rows)}"
            parts += [head, *_listing(CHANGED, rows, "report.json")]
    host = (record.get("provenance") or {}).get("host") or {}
    parts += ["## What ran", _table(RAN, tables.ran(record))]
    parts += ["## Measured on", _bullets(f"{key}: {value}" for key, value in tables.facts(host)) or DASH]
    return "\n\n".join(parts) + "\n"


def run_markdown(record: dict[str, Any]) -> str:
    """The whole report of a fine-tuning run as one Markdown text."""
    metrics, data = record.get("metrics") or {}, record.get("data") or {}
    sizes = ", ".join(f"{words(key)} {number(n, 0)}" for key, n in (data.get("n") or {}).items())
    parts = [f"# {_escape(record.get('name'))}", f"**{_escape(run_sentence(record))}**"]
    head = run_tables.head(record)
    facts = f"Weights: {words(record.get('weights'))}. Images: {sizes or DASH}."
    parts += [_escape(f"{facts} Head: {head}." if head else facts)]
    lines = (
        run_tables.strategy(record),
        run_tables.kept(record),
        run_tables.cross_validation(record),
        run_tables.unjudged(record),
        run_tables.passed_over(record),
    )
    parts += [_escape(line) for line in lines if line]
    if scores := run_tables.scores(record):
        parts += ["## Figures", _bullets(f"{key}: {value}" for key, value in scores)]
        parts += [run_tables.SCORES_MEAN] if metrics.get("ece") is not None else []
    parts += ["## Classes", _table(PER_CLASS, tables.per_class(record))]
    if pairs := tables.confused(metrics.get("confusion") or [], record.get("labels") or [], SHOWN):
        parts += ["## Most confused", _table(CONFUSED, pairs)]
    if rows := run_tables.epochs(record.get("history") or []):
        some = run_tables.thinned(rows, SHOWN)
        more = [f"{len(some)} of {len(rows):,} epochs; run.json has all."] if len(some) < len(rows) else []
        if run_tables.best_epoch(record["history"]) is None:
            more.append(run_tables.NO_BETTER)
        parts += ["## Epochs", _table(run_tables.epoch_columns(rows), some), *more]
    for key, heading in (("skipped", "Skipped images"), ("duplicates", "Duplicate images")):
        if rows := tables.put_aside(record, key):
            parts += [f"## {heading} ({len(rows):,})", *_listing(FILES, rows, "run.json")]
    seconds = (record.get("seconds") or {}).items()
    parts += ["## Seconds", _bullets(f"{words(key)}: {number(value, 1)}" for key, value in seconds) or DASH]
    return "\n\n".join(parts) + "\n"


def sentence(record: dict[str, Any]) -> str:
    """What to ship, in one sentence."""
    return words(record.get("recommendation") or "No artifact is recommended: nothing was verified yet.")


def measured_on(record: dict[str, Any]) -> str:
    """Which images the accuracies come from, in one sentence."""
    reference, sets = record.get("reference") or {}, (record.get("provenance") or {}).get("sets") or {}
    sizes = ", ".join(f"{words(name)} {number(n, 0)}" for name, n in sets.items())
    text = f"Accuracy on {number(reference.get('n'), 0)} images of {words(reference.get('split'))}."
    return f"{text} Set sizes: {sizes}." if sizes else text


def timed_on(record: dict[str, Any]) -> str | None:
    """How busy this machine was with other things while the artifacts were timed, in one sentence; None where the
    record does not say."""
    conditions = record.get("conditions") or {}
    load, during = (conditions.get("before") or {}).get("load1"), conditions.get("during") or {}
    known = [f"load {number(load, 1)} before the first call"] if load is not None else []
    if during:
        known.append(
            f"other programs used {number(during.get('others'), 1)} of {number(during.get('cores'), 0)} cores"
        )
        known.append(f"{number(during.get('stolen'), 1)} cores were kept by a hypervisor")
    if not known:
        return None
    verdict = " This machine is busy: its speeds are not judged." if busy_reason(conditions) else ""
    return f"While the artifacts were timed: {', '.join(known)}.{verdict}"


def how_to_read(record: dict[str, Any]) -> list[str]:
    """The lines under the table."""
    n = number((record.get("reference") or {}).get("n"), 0)
    return [
        "Drop: PyTorch's accuracy minus the artifact's on the same images; positive is worse. In brackets, "
        f"its 95 % interval: where that includes 0, {n} images cannot tell the two apart.",
        "Agreement: images with the same answer as PyTorch's, right or wrong.",
        "p50, p90, p99: half, 90 % and 99 % of the timed runs took no longer. Speed-up: times as fast as "
        f"PyTorch on the same machine, with its 95 % interval; {UNJUDGED} where the machine was busy or that is wide.",
        f"{DASH}: not measured, does not apply, or too few runs to support this percentile.",
    ]


def run_sentence(record: dict[str, Any]) -> str:
    """What a fine-tuning run reached, in one sentence, with its interval and whether its images also chose."""
    metrics = record.get("metrics") or {}
    split = metrics.get("split")
    n = metrics.get("n") or ((record.get("data") or {}).get("n") or {}).get(split)
    ends = [number(end, 2, 100) for end in metrics.get("accuracy_ci") or ()]
    interval = f", 95 % interval [{ends[0]}, {ends[1]}] %" if len(ends) == 2 else ""
    text = (
        f"{words(record.get('model'))} ({words(record.get('strategy'))}) is right on "
        f"{number(metrics.get('accuracy'), 2, 100)} % of the {number(n, 0)} images of {words(split)}{interval}; "
        f"macro F1 {number(metrics.get('macro_f1'), 2, 100)} %."
    )
    if metrics.get("chosen_on_same_images"):
        text += " These images also chose what was kept, so expect less on new ones."
    return text


def _escape(value: object) -> str:
    """User text (labels, file names) must not become markup or split a table."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", words(value)).replace("<", "&lt;")
    text = re.sub(r"([\\`*|~$]|\](?=\())", r"\\\1", text)  # "](" would make a link
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # a_b is safe as it is, and reads better


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    cells = [[column.heading for column in columns]]
    cells += [[row[column.key] and _escape(row[column.key]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (w - 1) + (":" if c.numeric else "-") for c, w in zip(columns, widths, strict=True)]
    padded = [
        [t.rjust(w) if c.numeric else t.ljust(w) for t, c, w in zip(line, columns, widths, strict=True)]
        for line in cells
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])


def _listing(columns: Sequence[Column], rows: Sequence[Row], file: str) -> list[str]:
    more = [f"And {len(rows) - SHOWN:,} more in {file}."] if len(rows) > SHOWN else []
    return [_table(columns, rows[:SHOWN]), *more]
