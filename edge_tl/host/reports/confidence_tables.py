"""Turn what an export found about confidences and instruction sets into rows of text.

Must not measure or lay out; what is not in the record becomes a dash or is left out.
"""

from __future__ import annotations

from typing import Any

from edge_tl.device.format import DASH, interval, number, words
from edge_tl.host.reports.tables import Column, Row

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


def confidence(record: dict[str, Any]) -> list[Row]:
    """Rows of ``CONFIDENCE``, PyTorch first; without a threshold the columns about it hold dashes."""
    rows = []
    for item in [{"id": "PyTorch", **(record.get("reference") or {})}, *(record.get("artifacts") or [])]:
        if not (found := item.get("confidence")):
            continue
        asked = found.get("threshold") or {}
        reference = item["id"] == "PyTorch"
        rows.append(
            {
                "artifact": words(item.get("id")),
                "temperature": number(found.get("temperature"), 3),
                "ece": f"{number(found.get('ece_before'), 2, 100)} → {number(found.get('ece'), 2, 100)}",
                "coverage": number(asked.get("coverage"), 2, 100),
                "right": number(asked.get("accuracy"), 2, 100),
                "restoring": DASH if reference else number(asked.get("restoring"), 4),
                "restored": DASH if reference else number(asked.get("restored_coverage"), 2, 100),
            }
        )
    return rows


def how(record: dict[str, Any]) -> str:
    """The lines under the table of confidences."""
    asked = ((record.get("reference") or {}).get("confidence") or {}).get("threshold")
    if not asked:
        return HOW
    return (
        f"{HOW} Answered: images with a probability of at least {number(asked.get('asked'), 4)}; the threshold to "
        "restore lets as many of the validation images pass as with PyTorch."
    )


def _over(artifact: dict[str, Any], row: dict[str, Any]) -> str:
    if row.get("fault"):
        return f" not measured: {words(row['fault'])}"
    limit, drop = (artifact.get("limits") or {}).get("max_drop_pp"), row.get("drop_pp")
    return " over the budget" if limit is not None and drop is not None and drop > limit else ""


def proven(record: dict[str, Any]) -> list[Row]:
    """Rows of ``PROVEN``: each INT8 artifact on every instruction set it was judged on, and where it costs too much."""
    return [
        {
            "artifact": words(artifact.get("id")),
            "isa": words(row.get("isa")) + (f" (capped by {words(row['cap'])})" if row.get("cap") else ""),
            "accuracy": number(row.get("accuracy"), 2, 100),
            "drop": interval(row.get("drop_pp"), row.get("drop_ci_pp")) + _over(artifact, row),
            "agreement": number(row.get("agreement"), 2, 100),
            "n": number(row.get("n"), 0),
        }
        for artifact in record.get("artifacts") or []
        for row in artifact.get("proven_on") or []
    ]
