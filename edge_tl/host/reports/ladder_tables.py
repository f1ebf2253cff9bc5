"""Turn what the INT8 ladder tried (rungs, candidates, layers) into rows of text.

Must not measure or lay out; what is not in the record becomes a dash or is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_tl.device.format import interval, number, words
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
    """Rows of ``RUNGS``, a row a rung of each INT8 artifact; the rung that was kept carries a mark."""
    rows = []
    for artifact in record.get("artifacts") or []:
        ladder = artifact.get("ladder") or {}
        for rung in ladder.get("rungs") or []:
            best = rung.get("best") or {}
            faults = rung.get("faults") or []
            kept = best and best == ladder.get("chosen")
            rows.append(
                {
                    "artifact": words(artifact.get("id")),
                    "rung": f"{number(rung.get('rung'), 0)} {words(rung.get('name'))}",
                    "tried": number(len(rung.get("candidates") or []) + len(faults), 0),
                    "accuracy": _percent(best.get("accuracy"), best.get("accuracy_ci")),
                    "expected": number(best.get("expected_drop_pp")),
                    "drop": interval(best.get("drop_pp"), best.get("drop_ci_pp")),
                    "agreement": number(best.get("agreement"), 1, 100),
                    "latency": number(best.get("latency_ms")),
                    "size": number(best.get("size_mb")),
                    "float": number(best.get("float_macs"), 1, 100),
                    "minutes": number(rung.get("minutes"), 1),
                    "mark": "kept" if kept else "" if best else words(faults[0] if faults else None),
                }
            )
    return rows


def _percent(value: float | None, ends: Sequence[float] | None) -> str:
    return interval(None if value is None else 100 * value, [100 * end for end in ends] if ends else None)


def sensitive(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The most sensitive layers as they were measured, where a ladder had to."""
    for artifact in record.get("artifacts") or []:
        if found := (artifact.get("ladder") or {}).get("sensitivity"):
            return list(found[:SHOWN])
    return []


def layers(record: dict[str, Any]) -> list[Row]:
    """Rows of ``LAYERS``."""
    return [
        {
            "layer": words(row.get("layer")),
            "divergence": number(row.get("divergence"), 2, 1000),
            "macs": number(row.get("macs"), 1, 100),
        }
        for row in sensitive(record)
    ]
