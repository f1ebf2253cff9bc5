"""A bundle in words, as export and demo print it."""

from __future__ import annotations

from typing import Any

from edge_tl.cli._table import explained, grid


def bundle_text(record: dict[str, Any]) -> str:
    """The table of a bundle and its sentence."""
    from edge_tl.host.reports import confidence_tables
    from edge_tl.host.reports.markdown import sentence, timed_on
    from edge_tl.host.reports.tables import TABLE, table

    rows = [[row[column.key] for column in TABLE] for row in table(record)]
    parts = [explained(grid([column.heading for column in TABLE], rows))]
    if any(row.get("cap") for artifact in record["artifacts"] for row in artifact.get("proven_on") or []):
        columns, shown = confidence_tables.PROVEN, confidence_tables.proven(record)
        cells = [[row[column.key] for column in columns] for row in shown]
        parts.append(grid([column.heading for column in columns], cells))
    timed = [line for line in [timed_on(record)] if line]
    return "\n\n".join([*parts, *timed, sentence(record)])
