"""The verb verify: the gates on this machine. It needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._console import finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import (
    AllowFallback,
    Artifacts,
    BundlePath,
    Debug,
    Device,
    DeviceOptions,
    Json,
    MaxPixels,
    On,
    OutFile,
    RemoteOptions,
    Ssh,
    Targets,
    Wheels,
)
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_GATE_FAILED
from edge_tl.device.format import DASH, NOT_JUDGED
from edge_tl.device.text import printable

if TYPE_CHECKING:
    from edge_tl.device.records.gate import GateResult
    from edge_tl.device.records.verification import VerifyResult

SHOWN = 10  # files left out, in a terminal

Data = Annotated[Path | None, typer.Option(help="A labelled folder: adds accuracy on it.")]


def verify(
    ctx: typer.Context,
    bundle: BundlePath,
    data: Data = None,
    artifact: Artifacts = None,
    max_pixels: MaxPixels = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    on: On = None,
    targets: Targets = None,
    wheels: Wheels = None,
    ssh: Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check that this machine gives the exported model's answers."""
    remote = RemoteOptions(on, targets, wheels, ssh)
    if remote.given:
        return run_remotely(ctx, remote)
    check_out(out, read=[bundle])
    from edge_tl import api
    from edge_tl.device.bundle import read_bundle

    options = DeviceOptions(tuple(artifact or ()), device, allow_fallback)
    # Unproven: the pixels gate says what is wrong with the contract.
    loaded = read_bundle(bundle, contract_unproven=True).reading(max_pixels)
    with open_listener() as listener:
        result = api.verify(
            loaded,
            data=data,
            artifacts=options.artifacts,
            device=options.device,
            allow_fallback=options.allow_fallback,
            listener=listener,
        )
    for line in _remarks(result):
        say(line)
    text = "\n\n".join(_text(result, loaded.record.recommended))
    if result.passed:
        then = f"next: edge-tl bench {quote(str(bundle))}{options.flags}"
    else:
        then = "next: docs/how-to/failed-gate.md says what each failed gate means and what to do"
    found = result.to_json()
    code = 0 if result.passed else EXIT_GATE_FAILED
    return saved(lambda: save_to(found, out), lambda: finish(found, text, as_json=json, code=code, then=then))


def _remarks(result: VerifyResult) -> Iterator[str]:
    """What is said on stderr before the result."""
    for warning in result.warnings:
        yield f"warning: {warning}"
    for entry in result.skipped:
        yield f"skipped {entry.artifact}: {entry.reason}"
    left_out = result.data.skipped if result.data else ()
    for file in left_out[:SHOWN]:
        yield f"left out {printable(file.path)}: {printable(file.reason)}"
    if len(left_out) > SHOWN:
        yield f"left out {len(left_out) - SHOWN} more; --json has them all"
    for other in result.data.not_images if result.data else ():
        yield f"passed over {other.n} {other.kind}: no images"


def _text(result: VerifyResult, recommended: str | None) -> Iterator[str]:
    """The table of gates, that of accuracies where there is data, and the last line."""
    rows = [
        [
            ("pass" if gate.passed else "FAIL") if gate.judged else NOT_JUDGED,
            gate.gate,
            gate.artifact or "all",
            DASH if gate.measured is None else f"{gate.measured:.4g}",
            f"{gate.limit:.4g} {gate.unit}",
            gate.reason,
        ]
        for gate in result.gates
    ]
    yield grid(["", "gate", "artifact", "measured", "limit", "what it says"], rows, left=6, names=3)
    for gate in result.gates:
        if gate.stage is not None:
            yield _where(gate)
    if result.data:
        figures = [
            [
                row.artifact,
                f"{row.accuracy:.4f}",
                str(row.n),
                DASH if row.drop_pp is None else f"{row.drop_pp:+.2f}",
            ]
            for row in result.data.accuracy
        ]
        table = explained(grid(["artifact", "accuracy", "images", "drop pp"], figures))
        yield f"on {result.data.folder}:\n{table}"
    yield _conclusion(result, recommended)


def _where(gate: GateResult) -> str:
    """Of a failed gate the stage, the image and the limit that would have passed."""
    unit = "of a logit" if gate.stage in ("logits", "label") else "levels of 255"
    by = "" if gate.difference is None else f", by {gate.difference:.4g} {unit}"
    passing = (
        "no limit would have passed"
        if gate.would_pass is None
        else f"a limit of {gate.would_pass:g} {gate.unit} would have passed"
    )
    what = f"{gate.gate}, {gate.artifact}" if gate.artifact else gate.gate
    return f"{what}: first to diverge: {gate.stage}, on {printable(str(gate.image))}{by}; {passing}."


def _conclusion(result: VerifyResult, recommended: str | None) -> str:
    """The last line of `verify`: what was proven, of how much of the bundle."""
    lines = ["PASSED: the same model on this machine." if result.passed else "FAILED: see the gates above."]
    counted = f"{result.verified} of {result.of} artifacts verified"
    if result.recommended_verified is False:
        counted += f"; the recommended one, {printable(str(recommended))}, was not"
    if result.verified != result.of:
        lines.append(f"{counted}.")
    if count := sum(not gate.judged for gate in result.gates):
        lines.append(f"Not judged: {count}, see above.")
    return " ".join(lines)
