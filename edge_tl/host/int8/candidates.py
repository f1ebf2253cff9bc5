"""An INT8 candidate: its settings, its files and its record. Makes and chooses none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.runtimes.families import files_of
from edge_tl.host.int8.records import CandidateRecord
from edge_tl.host.int8.settings import CandidateSettings


@dataclass(frozen=True)
class Candidate:
    """`path` is the artifact, `qdq` the Q/DQ graph that it was converted from: None where NNCF made it."""

    settings: CandidateSettings
    path: Path
    qdq: Path | None
    record: CandidateRecord

    @property
    def float_macs(self) -> float:
        """The fraction of the multiply-accumulates in float; 0 where it is not known."""
        return self.record.float_macs or 0.0


def move_files(candidate: Candidate, out: Path) -> None:
    """Move a candidate's artifact to `out`, the `.bin` of an IR beside it."""
    for source, destination in zip(files_of(candidate.path), files_of(out), strict=True):
        source.replace(destination)


def delete_files(candidate: Candidate) -> None:
    """Remove a candidate's files: two dozen of a large model would fill the disk."""
    for path in (candidate.path, candidate.path.with_suffix(".bin"), candidate.qdq):
        if path is not None:
            path.unlink(missing_ok=True)
