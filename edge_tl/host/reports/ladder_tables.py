"""The rows of what the INT8 ladder tried: rungs, candidates, layers. Measures nothing and lays out nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edge_tl.device.format import DASH, interval, number, words
from edge_tl.host.int8.records import CandidateRecord, LadderRecord, LayerSensitivity
from edge_tl.host.reports.tables import Column, Row

RUNGS = (
    Column("artifact", "artifact", False),
    Column("rung", "rung", False),
    Column("tried", "tried"),
    Column("accuracy", "accuracy % [interval]"),
    Column("expected", "expected drop pp"),
    Column("drop", "counted [interval]"),
    Column("agreement", "agreement %"),
    Column("latency", "ms"),
    Column("size", "size MB"),
    Column("float", "work in float %"),
    Column("minutes", "minutes"),
    Column("mark", "", False),
)
LAYERS = (
    Column("layer", "layer", False),
    Column("divergence", "divergence, millinats"),
    Column("macs", "work %"),
)
SHOWN = 12
_FIGURES = ("accuracy", "expected", "drop", "agreement", "latency", "size", "float")
HOW = (
    "The best candidate of each rung on the selection images, which neither calibrated nor judge. Expected drop: what "
    "FP32's own probabilities say of the answers that changed; it decides, because it varies far less than the counted "
    "one. Latency: the median of a few calls, to tell candidates apart. Work in "
    "float: multiply-accumulates of layers that were not quantized."
)
HOW_LAYERS = (
    "How far each layer alone in INT8 moves the answers from FP32's, the worst first: the mean Kullback-Leibler "
    "divergence on some of the selection images."
)


def rungs(record: dict[str, Any]) -> list[Row]:
    """Rows of ``RUNGS``, a row a rung of each INT8 artifact; the rung that was kept carries a mark. Raises
    `BundleError` for a ladder that is not one."""
    rows = []
    for artifact, ladder in _ladders(record):
        for rung in ladder.rungs:
            best = rung.best
            mark = "kept" if best == ladder.chosen else "" if best else words(next(iter(rung.faults), None))
            rows.append(
                {
                    "artifact": words(artifact),
                    "rung": f"{number(rung.rung, 0)} {words(rung.name)}",
                    "tried": number(len(rung.candidates) + len(rung.faults), 0),
                    **_figures(best),
                    "minutes": number(rung.minutes, 1),
                    "mark": mark,
                }
            )
    return rows


def _ladders(record: dict[str, Any]) -> Iterator[tuple[str, LadderRecord]]:
    """The id and the ladder of each artifact that has one."""
    for artifact in record.get("artifacts") or []:
        if artifact.get("ladder"):
            yield (
                artifact.get("id"),
                LadderRecord.from_json(artifact["ladder"], f"{artifact.get('id')}: ladder"),
            )


def _figures(best: CandidateRecord | None) -> Row:
    """The cells of the best candidate of a rung; dashes where none could be made."""
    if best is None:
        return dict.fromkeys(_FIGURES, DASH)
    low, high = best.accuracy_ci
    cells = (
        interval(100 * best.accuracy, [100 * low, 100 * high]),
        number(best.expected_drop_pp),
        interval(best.drop_pp, best.drop_ci_pp),
        number(best.agreement, 1, 100),
        number(best.latency_ms),
        number(best.size_mb),
        number(best.float_macs, 1, 100),
    )
    return dict(zip(_FIGURES, cells, strict=True))


def sensitive(record: dict[str, Any]) -> Sequence[LayerSensitivity]:
    """The most sensitive layers as they were measured, where a ladder had to."""
    found = (ladder.sensitivity for _, ladder in _ladders(record) if ladder.sensitivity)
    return next(found, ())[:SHOWN]


def layers(record: dict[str, Any]) -> list[Row]:
    """Rows of ``LAYERS``."""
    return [
        {
            "layer": words(row.layer),
            "divergence": number(row.divergence, 2, 1000),
            "macs": number(row.macs, 1, 100),
        }
        for row in sensitive(record)
    ]
