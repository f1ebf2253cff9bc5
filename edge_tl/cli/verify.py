"""The verb verify: the gates on this machine. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl.cli import _remote
from edge_tl.cli._console import AllowFallback, Artifacts, Debug, Device, Json, finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import BundlePath, MaxPixels, OutFile
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_GATE_FAILED
from edge_tl.device.format import DASH
from edge_tl.device.text import printable

SHOWN = 10  # files left out, in a terminal


def verify(
    ctx: typer.Context,
    bundle: BundlePath,
    data: Annotated[Path | None, typer.Option(help="A labelled folder: adds accuracy on it.")] = None,
    artifact: Artifacts = None,
    max_pixels: MaxPixels = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    on: _remote.On = None,
    targets: _remote.Targets = None,
    wheels: _remote.Wheels = None,
    ssh: _remote.Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check that this machine gives the exported model's answers."""
    if _remote.asked(ctx):
        return _remote.away(ctx)
    check_out(out, read=[bundle])
    from edge_tl.device import gates as room
    from edge_tl.device.bundle import read_bundle

    # Its pixels gate says what is wrong with the contract.
    loaded = read_bundle(bundle, contract_unproven=True).reading(max_pixels)
    with open_listener() as listener:
        result = room.verify(
            loaded,
            data=data,
            artifacts=artifact or (),
            device=device,
            allow_fallback=allow_fallback,
            listener=listener,
        )
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    for entry in result["skipped"]:
        say(f"skipped {entry['artifact']}: {entry['reason']}")
    left_out = result["data"]["skipped"] if "data" in result else []
    for entry in left_out[:SHOWN]:
        say(f"left out {printable(entry['path'])}: {printable(entry['reason'])}")
    if len(left_out) > SHOWN:
        say(f"left out {len(left_out) - SHOWN} more; --json has them all")
    for entry in result["data"]["not_images"] if "data" in result else []:
        say(f"passed over {entry['n']} {entry['kind']}: no images")
    rows = [
        [
            ("pass" if gate["passed"] else "FAIL") if gate["judged"] else "not judged",
            gate["gate"],
            gate["artifact"] or "all",
            DASH if gate["measured"] is None else f"{gate['measured']:.4g}",
            f"{gate['limit']:.4g} {gate['unit']}",
            gate["reason"],
        ]
        for gate in result["gates"]
    ]
    text = grid(["", "gate", "artifact", "measured", "limit", "what it says"], rows, left=6, names=3)
    if "data" in result:
        text += f"\n\non {result['data']['folder']}:\n" + explained(
            grid(
                ["artifact", "accuracy", "images", "drop pp"],
                [
                    [
                        r["artifact"],
                        f"{r['accuracy']:.4f}",
                        str(r["n"]),
                        f"{r['drop_pp']:+.2f}" if "drop_pp" in r else "—",
                    ]
                    for r in result["data"]["accuracy"]
                ],
            )
        )
    text += "\n\n" + _verdict(result, loaded.record.recommended)
    if result["passed"]:
        then = f"next: edge-tl bench {bundle}" + (f" --device {device}" if device.upper() != "CPU" else "")
    else:
        then = 'next: the README says under "How to read a failed gate" what each one means and what to do'
    code = 0 if result["passed"] else EXIT_GATE_FAILED
    return saved(
        lambda: save_to(result, out), lambda: finish(result, text, as_json=json, code=code, then=then)
    )


def _verdict(result: dict[str, Any], recommended: str | None) -> str:
    """The last lines of `verify`: what was proven, of how much of the bundle."""
    lines = [
        "PASSED: the same model on this machine." if result["passed"] else "FAILED: see the gates above."
    ]
    counted = f"{result['verified']} of {result['of']} artifacts verified"
    if result["recommended_verified"] is False:
        counted += f"; the recommended one, {printable(str(recommended))}, was not"
    if result["verified"] != result["of"]:
        lines.append(f"{counted}.")
    if open_still := sum(not gate["judged"] for gate in result["gates"]):
        lines.append(f"Not judged: {open_still}, see above.")
    return " ".join(lines)
