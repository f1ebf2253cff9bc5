"""What an export found about confidences and instruction sets as tables of text. Measures nothing."""

from __future__ import annotations

from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.device.records.accuracy import ConfidenceRecord, ProvenOn
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.ladder_tables import ladder_records
from edge_tl.host.reports.table import Column, Row, Table

CONFIDENCE = (
    Column("artifact", "artifact", False),
    Column("temperature", "temperature"),
    Column("ece", "ECE % before → after"),
    Column("coverage", "answered %"),
    Column("right", "of those right %"),
    Column("restoring", "threshold to restore"),
    Column("restored", "then answered %"),
)
PROVEN = (
    Column("artifact", "artifact", False),
    Column("isa", "INT8 computed with", False),
    Column("accuracy", "accuracy %"),
    Column("drop", "drop pp [interval]"),
    Column("agreement", "agreement %"),
    Column("n", "images"),
)
HOW = (
    "Logits are divided by the temperature, inside the file, so that probabilities come true on validation images; "
    "answers do not change. ECE: by how much confidence and accuracy differ on average, over 15 bins."
)
HOW_PROVEN = (
    "INT8 answers depend on the CPU's instructions. A device that has none of these, or one over the "
    "budget, is not covered: run edge-tl verify --data there."
)
HOW_PROVEN_BY_CODES = (
    "no sum of two products exceeds 16 bits with the codes in the file, whatever the image: x86 CPUs without VNNI cut "
    "nothing there."
)


def confidence_table(record: BundleRecord) -> Table:
    """PyTorch first; without a threshold the columns about it hold dashes."""
    rows = []
    if found := record.reference.confidence:  # its threshold is what the others restore
        rows.append(_confidence("PyTorch", found) | {"restoring": DASH, "restored": DASH})
    for artifact in record.artifacts:
        if artifact.confidence:
            rows.append(_confidence(artifact.id, artifact.confidence))
    return Table(CONFIDENCE, rows)


def how_to_read_confidence(record: BundleRecord) -> str:
    """The lines under the table of confidences."""
    found = record.reference.confidence
    if found is None or found.threshold is None:
        return HOW
    return (
        f"{HOW} Answered: images with a probability of at least {number(found.threshold.asked, 4)}; the threshold to "
        "restore lets as many of the validation images pass as with PyTorch."
    )


def proven_table(record: BundleRecord) -> Table:
    """Each INT8 artifact on every instruction set that it was evaluated on, and where it costs too much."""
    rows = [
        {
            "artifact": one_line(artifact.id),
            "isa": one_line(row.isa) + (f" (capped by {one_line(row.cap)})" if row.cap else ""),
            "accuracy": number(row.accuracy, 2, 100),
            "drop": interval(row.drop_pp, row.drop_ci_pp) + _over(artifact, row),
            "agreement": number(row.agreement, 2, 100),
            "n": number(row.n, 0),
        }
        for artifact in record.artifacts
        for row in artifact.proven_on or ()
    ]
    return Table(PROVEN, rows)


def how_to_read_proven(record: BundleRecord) -> str:
    """The lines under the table of instruction sets: what is proven by the codes of a file comes first, because it
    holds on CPUs that no row is of."""
    safe = [name for name, ladder in ladder_records(record) if ladder.chosen.may_saturate == ()]
    if not safe:
        return HOW_PROVEN
    return f"In {one_line(' and '.join(safe))} {HOW_PROVEN_BY_CODES} Apart from that: {HOW_PROVEN}"


def _confidence(name: str, found: ConfidenceRecord) -> Row:
    threshold = found.threshold
    return {
        "artifact": one_line(name),
        "temperature": number(found.temperature, 3),
        "ece": f"{number(found.ece_before, 2, 100)} → {number(found.ece, 2, 100)}",
        "coverage": number(threshold and threshold.coverage, 2, 100),
        "right": number(threshold and threshold.accuracy, 2, 100),
        "restoring": number(threshold and threshold.restoring, 4),
        "restored": number(threshold and threshold.restored_coverage, 2, 100),
    }


def _over(artifact: ArtifactRecord, row: ProvenOn) -> str:
    if row.fault:
        return f" not measured: {one_line(row.fault)}"
    return "" if row.within(artifact.limits.max_drop_pp) else " over the budget"
