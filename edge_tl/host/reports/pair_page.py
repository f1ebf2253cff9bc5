"""Two bundles or two runs side by side as one page and as text. Compares nothing: see `pairing`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_tl.device.format import DASH, interval, number, one_line, percentage
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports import bundle_tables, run_tables
from edge_tl.host.reports.page import render
from edge_tl.host.reports.pair_record import DifferenceRecord, PairRecord
from edge_tl.host.reports.summary_card import SummaryCard, summary_card
from edge_tl.host.reports.table import Column, Row, Table, named_values
from edge_tl.host.runs.record import RunRecord

_FIGURES = (
    ("accuracy", "accuracy %"),
    ("p50", "p50 ms"),
    ("p99", "p99 ms"),
    ("size", "size MB"),
    ("result", "result"),
)
_CLASS_FIGURES = (("recall", "recall %"), ("precision", "precision %"), ("f1", "F1 %"), ("n", "images"))
_WORDS = {"accuracy": "accuracy", "latency": "latency, p50", "size": "size"}


def difference_table(pair: PairRecord) -> Table:
    """A row for each figure of both."""
    a, b = _names(pair)
    columns = (
        Column("of", "of", False),
        Column("figure", "figure", False),
        Column("a", a),
        Column("b", b),
        Column("difference", "difference [interval]"),
        Column("better", "better", False),
    )
    return Table(columns, [_row(each, a, b) for each in pair.differences])


def write_bundles_page(a: BundleRecord, b: BundleRecord, pair: PairRecord, path: Path) -> None:
    """The page of two bundles."""
    names = _names(pair)
    cards = [(name, card) for name, each in zip(names, (a, b), strict=True) if (card := summary_card(each))]
    machines = [(name, named_values(each.provenance.host)) for name, each in zip(names, (a, b), strict=True)]
    _write(pair, path, cards=cards, artifacts=_artifacts(a, b, names), machines=machines)


def write_runs_page(a: RunRecord, b: RunRecord, pair: PairRecord, path: Path) -> None:
    """The page of two runs: their figures, and every class of both."""
    names = _names(pair)
    facts = [_facts(each) for each in (a, b)]
    rows = [(key, *(each.get(key, DASH) for each in facts)) for key in dict.fromkeys([*facts[0], *facts[1]])]
    card = SummaryCard(names, [(key, x, y) for key, x, y in rows], [])
    machines = [
        (name, named_values(each.provenance.host.to_json())) for name, each in zip(names, (a, b), strict=True)
    ]
    _write(pair, path, cards=[("", card)], artifacts=_classes(a, b, names), machines=machines)


def pair_lines(pair: PairRecord) -> list[str]:
    """What the figures were compared by, a line each."""
    paired = next((each for each in pair.differences if each.paired), None)
    lines = []
    if paired:
        lines.append(
            f"Accuracy: the second minus the first in points, on the same {number(paired.n, 0)} images."
        )
    elif any(each.figure == "accuracy" and each.difference is not None for each in pair.differences):
        lines.append("Accuracy: the second minus the first in points.")
    if any(each.figure == "latency" and each.difference is not None for each in pair.differences):
        lines.append("Latency: how many times faster the second is.")
    known = dict.fromkeys((_WORDS[each.figure], one_line(each.why)) for each in pair.differences if each.why)
    return [*lines, *(f"{figure[:1].upper()}{figure[1:]}: {why}." for figure, why in known)]


def _write(pair: PairRecord, path: Path, **parts: object) -> None:
    render(
        "pair.html.j2",
        path,
        f"{pair.a} and {pair.b}",
        pair.to_json(),
        kind=pair.kind,
        sentence=pair.sentence,
        differences=difference_table(pair),
        lines=pair_lines(pair),
        **parts,
    )


def _names(pair: PairRecord) -> tuple[str, str]:
    a, b = one_line(pair.a), one_line(pair.b)
    return (a, b) if a != b else (f"{a}, the first", f"{b}, the second")


def _row(found: DifferenceRecord, a: str, b: str) -> dict[str, str]:
    x, y = found.of
    difference = interval(found.difference, found.difference_ci)
    if difference != DASH:
        value, bracket, ends = difference.partition(" [")
        difference = f"{difference} points" if found.figure == "accuracy" else f"{value} ×{bracket}{ends}"
    even = (
        "not compared"
        if found.difference is None
        else "as large"
        if found.figure == "size"
        else "cannot be told apart"
    )
    return {
        "of": one_line(x if x == y else f"{x}, {y}"),
        "figure": _WORDS[found.figure],
        "a": _figure(found, found.a),
        "b": _figure(found, found.b),
        "difference": difference,
        "better": {"a": a, "b": b, None: even}[found.better],
    }


def _figure(found: DifferenceRecord, value: float | None) -> str:
    if found.figure == "accuracy":
        return percentage(value)
    text = number(value)
    return text if text == DASH else f"{text} {'ms' if found.figure == 'latency' else 'MB'}"


def _artifacts(a: BundleRecord, b: BundleRecord, names: tuple[str, str]) -> Table:
    """Every artifact of either, with the figures of both."""
    rows = (bundle_tables.artifact_table(each).rows for each in (a, b))
    return _beside(Column("name", "artifact", False), _FIGURES, names, *rows)


def _classes(a: RunRecord, b: RunRecord, names: tuple[str, str]) -> Table:
    rows = (run_tables.class_table(each).rows for each in (a, b))
    return _beside(Column("label", "class", False), _CLASS_FIGURES, names, *rows)


def _beside(
    first: Column,
    figures: Sequence[tuple[str, str]],
    names: tuple[str, str],
    a: Sequence[Row],
    b: Sequence[Row],
) -> Table:
    """A row for each that is in either by its `first` cell, and each figure of both next to each other."""
    sides = [{row[first.key]: row for row in rows} for rows in (a, b)]
    columns = [first]
    columns += [
        Column(f"{key}{i}", f"{heading}, {name}", key != "result")
        for key, heading in figures
        for i, name in enumerate(names)
    ]
    rows: list[Row] = []
    for row in dict.fromkeys([*sides[0], *sides[1]]):
        cells = {
            f"{key}{i}": side.get(row, {}).get(key, DASH)
            for key, _ in figures
            for i, side in enumerate(sides)
        }
        rows.append({first.key: row, **cells})
    return Table(columns, rows)


def _facts(record: RunRecord) -> dict[str, str]:
    return {
        "model": one_line(record.model),
        "weights": one_line(record.weights),
        "strategy": one_line(record.strategy),
        **dict(run_tables.scores(record.metrics)),
        "images evaluated": f"{number(record.metrics.n, 0)} of {record.metrics.split}",
        **{f"seconds, {name}": text for name, text in run_tables.seconds(record)},
    }
