"""What the INT8 ladder tried as tables of text: rungs, candidates, layers. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterator

from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.int8.records import CandidateRecord, LadderRecord, LayerSensitivity, RungRecord
from edge_tl.host.reports.table import Column, Row, Table

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
HOW = (
    "The best candidate of each rung on the selection images, which neither calibrate nor evaluate; of data without a "
    "test split these are blends of two training images each. Expected drop: what FP32's own probabilities say of the "
    "answers that changed; it decides, because it varies far less than the counted one. Latency: the median of a few "
    "calls, to distinguish candidates. Work in float: multiply-accumulates of layers that were not quantized."
)
HOW_LAYERS = (
    "How far each layer alone in INT8 moves the answers from FP32's, the worst first: the mean Kullback-Leibler "
    "divergence on some of the selection images."
)


def rung_table(record: BundleRecord) -> Table:
    """A row for each rung of each INT8 artifact; the rung that was kept has a mark."""
    rows = [
        {"artifact": one_line(artifact)} | _rung(rung, kept=rung.best == ladder.chosen)
        for artifact, ladder in ladder_records(record)
        for rung in ladder.rungs
    ]
    return Table(RUNGS, rows)


def sensitive_layers(record: BundleRecord) -> list[LayerSensitivity]:
    """The most sensitive layers as they were measured, where a ladder had to."""
    for _, ladder in ladder_records(record):
        if ladder.sensitivity:
            return list(ladder.sensitivity[:SHOWN])
    return []


def layer_table(record: BundleRecord) -> Table:
    """The most sensitive layers."""
    rows = [
        {
            "layer": one_line(one.layer),
            "divergence": number(one.divergence, 2, 1000),
            "macs": number(one.macs, 1, 100),
        }
        for one in sensitive_layers(record)
    ]
    return Table(LAYERS, rows)


def ladder_records(record: BundleRecord) -> Iterator[tuple[str, LadderRecord]]:
    """The artifacts that a ladder was climbed for, by name."""
    for artifact in record.artifacts:
        if artifact.ladder is not None:
            yield artifact.id, LadderRecord.from_json(artifact.ladder, f"{artifact.id}: ladder")


def _rung(rung: RungRecord, *, kept: bool) -> Row:
    fault = one_line(rung.faults[0]) if rung.faults else DASH
    return {
        "rung": f"{number(rung.rung, 0)} {one_line(rung.name)}",
        "tried": number(len(rung.candidates) + len(rung.faults), 0),
        **(_candidate(rung.best) if rung.best else dict.fromkeys(_FIGURES, DASH)),
        "minutes": number(rung.minutes, 1),
        "mark": fault if rung.best is None else "kept" if kept else "",
    }


_FIGURES = ("accuracy", "expected", "drop", "agreement", "latency", "size", "float")


def _candidate(best: CandidateRecord) -> Row:
    low, high = best.accuracy_ci
    return {
        "accuracy": interval(100 * best.accuracy, (100 * low, 100 * high)),
        "expected": number(best.expected_drop_pp)
        if best.expected_drop_ci_pp is None
        else interval(best.expected_drop_pp, best.expected_drop_ci_pp),
        "drop": interval(best.drop_pp, best.drop_ci_pp),
        "agreement": number(best.agreement, 1, 100),
        "latency": number(best.latency_ms),
        "size": number(best.size_mb),
        "float": number(best.float_macs, 1, 100),
    }
