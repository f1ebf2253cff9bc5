"""A bundle in words, as export and demo print it. It needs the host part."""

from __future__ import annotations

from edge_tl.cli._table import explained, grid
from edge_tl.device.records.bundle import BundleRecord


def bundle_text(record: BundleRecord) -> str:
    """The table of a bundle and its sentence."""
    from edge_tl.host.reports.bundle_tables import artifact_table
    from edge_tl.host.reports.confidence_tables import proven_table
    from edge_tl.host.reports.sentences import recommendation, timed_on

    artifacts = artifact_table(record)
    parts = [explained(grid(artifacts.headings, artifacts.cells))]
    if any(row.cap for artifact in record.artifacts for row in artifact.proven_on or ()):
        proven = proven_table(record)
        parts.append(grid(proven.headings, proven.cells))
    if timed := timed_on(record):
        parts.append(timed)
    return "\n\n".join([*parts, recommendation(record)])
