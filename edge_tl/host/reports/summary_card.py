"""The card at the top of a bundle's page: PyTorch beside what is recommended, a row for each figure that is known.

Measures nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.format import DASH, interval, number, one_line, percentage
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.host.reports.benches import peak_memory
from edge_tl.host.reports.bundle_tables import judged_speedup

_PEAK = "memory, at most"


class SummaryCard(NamedTuple):
    """Two sides by their names, and rows `(what, first, second)`; `notes` say what to know of the figures."""

    sides: tuple[str, str]
    rows: list[tuple[str, str, str]]
    notes: list[str]


def summary_card(record: BundleRecord) -> SummaryCard | None:
    """None where nothing is recommended."""
    if record.recommended is None:
        return None
    artifact, reference = record.artifact(record.recommended), record.reference
    before, after = reference.latency_ms or LatencyRecord(), artifact.latency_ms or LatencyRecord()
    drop = interval(artifact.drop_pp, artifact.drop_ci_pp)
    rows = [
        ("accuracy", percentage(reference.accuracy), percentage(artifact.accuracy)),
        ("accuracy drop", DASH, drop if drop == DASH else f"{drop} points"),
        ("one image, p50", _ms(before.p50), _ms(after.p50)),
        ("one image, p95", _ms(before.p95), _ms(after.p95)),
        ("speed-up", DASH, _times(artifact, record)),
        ("size", DASH, f"{number(artifact.size_mb)} MB"),
        (_PEAK, _memory(record, "pytorch"), _memory(record, artifact.id)),
    ]
    known = [row for row in rows if row[1:] != (DASH, DASH)]
    return SummaryCard(("PyTorch", one_line(artifact.id)), known, _notes(record))


def _ms(value: float | None) -> str:
    text = number(value)
    return text if text == DASH else f"{text} ms"


def _times(artifact: ArtifactRecord, record: BundleRecord) -> str:
    text = judged_speedup(artifact, record.conditions)
    return f"{text} ×" if text[:1].isdigit() and "[" not in text else text.replace(" [", " × [")


def _memory(record: BundleRecord, name: str) -> str:
    text = number(peak_memory(record, name), 0)
    return text if text == DASH else f"{text} MiB"


def _notes(record: BundleRecord) -> list[str]:
    during = record.conditions.during if record.conditions else None
    busy = busy_reason(record.conditions, int(during.cores) if during else None)
    images = number(record.reference.n, 0)
    notes = (
        [] if images == DASH else [f"Accuracy on {images} images of {record.reference.split or 'the data'}."]
    )
    if busy:
        notes.append(f"No speed is judged here: {busy}. Export again when it is quiet.")
    return [one_line(note) for note in notes]
