"""A bundle in words, as export and demo print it. It needs the host part."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from edge_tl import __version__
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


def next_command(bundle: BundleRecord, folder: Path) -> str:
    """What to type after an export: not what carries a failure to the device."""
    if bundle.passed:
        return _to_device(bundle, folder)
    read = f"read the gates that failed in {folder / 'report.html'}, and docs/how-to/failed-gate.md"
    if bundle.recommended is None:
        return f"next: do not copy {folder} to a device: nothing in it is to be shipped; {read}; then export again"
    kept = folder.with_name(f"{folder.name}-passed")
    return (
        f"next: do not copy {folder} as it is: {read}; or take what passed alone: edge-tl slim "
        f"{quote(str(folder))} --keep {bundle.recommended} --out {quote(str(kept))}"
    )


def _to_device(bundle: BundleRecord, folder: Path) -> str:
    """What to type after an export: where to copy, what to install there, what to run."""
    from edge_tl.device.runtimes.families import FAMILIES

    chosen = next((a for a in bundle.artifacts if a.id == bundle.recommended), None)
    extra = chosen.family.extra if chosen else ",".join(family.extra for family in FAMILIES)
    return (
        f"next: copy {folder} to the device; install edge-tl there with the extra [{extra}] (pip install "
        f'"./edge_tl-{__version__}-py3-none-any.whl[{extra}]", see docs/how-to/install.md), then: '
        f"edge-tl verify {quote(folder.name)}"
    )
