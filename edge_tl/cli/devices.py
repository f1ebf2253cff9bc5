"""The verb devices: what this machine has to run a bundle with. It needs no PyTorch."""

from __future__ import annotations

from typing import Any

import typer

from edge_tl.cli import _remote
from edge_tl.cli._console import Debug, Json, finish
from edge_tl.cli._options import OutFile
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import grid


def devices(
    ctx: typer.Context,
    on: _remote.On = None,
    targets: _remote.Targets = None,
    wheels: _remote.Wheels = None,
    ssh: _remote.Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show this machine's CPU, execution providers and devices."""
    if _remote.asked(ctx):
        return _remote.away(ctx)
    check_out(out)
    from edge_tl.device import machine
    from edge_tl.device.runtimes.devices import accelerators

    found = accelerators()
    result: dict[str, Any] = {
        "machine": machine.identity() | {"vnni": machine.has_vnni()},
        "conditions": machine.conditions(),
        "runtimes": found,
    }
    identity = result["machine"]
    lines = [
        f"CPU        {identity['cpu']}, {identity['cores_allowed']} of {identity['cores']} cores allowed",
        f"ISA        {' '.join(identity['isa']) or 'unknown'}"
        + ("" if identity["vnni"] else "  (no VNNI: INT8 is rarely faster than FP32 here)"),
    ]
    rows = []
    for name, extra in (("onnxruntime", "ort"), ("openvino", "openvino")):
        entry: Any = found.get(name)
        if entry is None:
            lines.append(f'{name:<10} not installed: pip install "edge-tl[{extra}]"')
        elif "error" in entry:
            lines.append(f"{name:<10} {entry['version']}: cannot be used here ({entry['error']})")
        else:
            lines.append(f"{name:<10} {entry['version']}")
            known = {d["name"]: d for d in entry.get("devices", [])}
            rows += [
                [name, *_device_row(session, known.get(session["name"]))] for session in entry["sessions"]
            ]
    text = "\n".join(lines)
    if rows:
        text += "\n\n" + grid(["runtime", "--device", "works", "what it is"], rows, left=4, names=2)
    then = "next: edge-tl verify BUNDLE --device NAME"
    return saved(lambda: save_to(result, out), lambda: finish(result, text, as_json=json, then=then))


def _device_row(session: dict[str, Any], known: dict[str, Any] | None) -> list[str]:
    what = ""
    if not session["works"]:
        what = session["reason"]
    elif known:
        what = f"{known['full_name'] or 'unnamed'}: {', '.join(known['capabilities'])}"
    return [session["name"], "yes" if session["works"] else "NO", what]
