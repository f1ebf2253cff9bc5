"""The verb devices: what this machine has to run a bundle with. It needs no PyTorch."""

from __future__ import annotations

from typing import Any

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, On, OutFile, RemoteOptions, Ssh, Targets, Wheels
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import grid

_EXTRAS = {"onnxruntime": "ort", "openvino": "openvino"}


def devices(
    ctx: typer.Context,
    on: On = None,
    targets: Targets = None,
    wheels: Wheels = None,
    ssh: Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show this machine's CPU, execution providers and devices."""
    remote = RemoteOptions(on, targets, wheels, ssh)
    if remote.given:
        return run_remotely(ctx, remote)
    check_out(out)
    from edge_tl.device import machine
    from edge_tl.device.runtimes.devices import accelerators

    result = {
        "machine": machine.identity() | {"vnni": machine.has_vnni()},
        "conditions": machine.conditions(),
        "runtimes": accelerators(),
    }
    then = "next: edge-tl verify BUNDLE --device NAME"
    return saved(lambda: save_to(result, out), lambda: finish(result, _text(result), as_json=json, then=then))


def _text(result: dict[str, Any]) -> str:
    identity = result["machine"]
    lines = [
        f"CPU        {identity['cpu']}, {identity['cores_allowed']} of {identity['cores']} cores allowed",
        f"ISA        {' '.join(identity['isa']) or 'unknown'}"
        + ("" if identity["vnni"] else "  (no VNNI: INT8 is rarely faster than FP32 here)"),
    ]
    rows = []
    for name, extra in _EXTRAS.items():
        entry: Any = result["runtimes"].get(name)
        if entry is None:
            lines.append(f'{name:<10} not installed: pip install "edge-tl[{extra}]"')
        elif "error" in entry:
            lines.append(f"{name:<10} {entry['version']}: cannot be used here ({entry['error']})")
        else:
            lines.append(f"{name:<10} {entry['version']}")
            known = {device["name"]: device for device in entry.get("devices", [])}
            rows += [
                [name, *_device_row(session, known.get(session["name"]))] for session in entry["sessions"]
            ]
    text = "\n".join(lines)
    if rows:
        text += "\n\n" + grid(["runtime", "--device", "works", "what it is"], rows, left=4, names=2)
    return text


def _device_row(session: dict[str, Any], known: dict[str, Any] | None) -> list[str]:
    what = ""
    if not session["works"]:
        what = session["reason"]
    elif known:
        what = f"{known['full_name'] or 'unnamed'}: {', '.join(known['capabilities'])}"
    return [session["name"], "yes" if session["works"] else "NO", what]
