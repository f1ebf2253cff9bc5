"""The verb slim: a smaller bundle with some of the artifacts. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from edge_tl.cli._console import finish, say
from edge_tl.cli._options import BundlePath, Debug, Json
from edge_tl.device.format import megabytes


def slim(
    bundle: BundlePath,
    keep: Annotated[
        list[str], typer.Option("--keep", help="An artifact to keep, e.g. onnx-int8; repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the smaller bundle goes: a new folder.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Make a smaller bundle with some of the artifacts."""
    from edge_tl.device import slim as slimming
    from edge_tl.device.bundle import read_bundle

    record = slimming.slim(read_bundle(bundle), keep, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    was = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    kept = ", ".join(artifact.id for artifact in record.artifacts)
    text = f"kept {kept}: {megabytes(size)} of {megabytes(was)}; recommended: {record.recommended or 'none'}"
    if not any(artifact.precision == "fp32" for artifact in record.artifacts):
        say("warning: without an fp32 artifact, verify --data has nothing to compare accuracy with")
    for artifact in record.artifacts:
        if said := record.failed_at_export(artifact):
            say(f"warning: {said}")
    then = f"next: edge-tl verify {quote(str(out))}"
    return finish(record.to_json() | {"bundle": str(out)}, text, as_json=json, then=then)
