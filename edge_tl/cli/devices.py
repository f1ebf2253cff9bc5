"""The verb devices: what this machine has to run a bundle with. It needs no PyTorch."""

from __future__ import annotations

from dataclasses import replace

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, On, OutFile, RemoteOptions, Ssh, Targets, Wheels
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import grid
from edge_tl.device.records.devices import DevicesResult, OpenVinoDevice, PluginRecord, TrialRecord
from edge_tl.device.runtimes.families import BY_NAME

_MOST = 120  # characters of a reason; --json has it whole


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

    here = replace(machine.identity(), vnni=machine.has_vnni())
    result = DevicesResult(here, machine.current_load(), accelerators())
    found, text = result.to_json(), _text(result)
    then = "next: edge-tl verify BUNDLE --device NAME"
    return saved(lambda: save_to(found, out), lambda: finish(found, text, as_json=json, then=then))


def _text(result: DevicesResult) -> str:
    here = result.machine
    lines = [
        f"CPU        {here.cpu}, {here.cores_allowed} of {here.cores} cores allowed",
        f"ISA        {' '.join(here.isa) or 'unknown'}"
        + ("" if here.vnni else "  (no VNNI: INT8 is rarely faster than FP32 here)"),
    ]
    rows = []
    for name, offer in result.runtimes.items():
        if offer is None:
            lines.append(f'{name:<10} not installed: pip install "edge-tl[{BY_NAME[name].extra}]"')
        elif offer.fault is not None:
            lines.append(f"{name:<10} {offer.version}: cannot be used here ({offer.fault})")
        else:
            lines.append(f"{name:<10} {offer.version}")
            lines += [_plugin_line(plugin) for plugin in offer.plugins]
            known = {device.name: device for device in offer.devices or ()}
            rows += [[name, *_device_row(trial, known.get(trial.name))] for trial in offer.sessions or ()]
    text = "\n".join(lines)
    if rows:
        text += "\n\n" + grid(["runtime", "--device", "works", "what it is"], rows, left=4, names=2)
    return text


def _plugin_line(plugin: PluginRecord) -> str:
    """A package, and what it found: the hardware and who made it."""
    devices = ", ".join(
        f"{each.name} ({each.hardware}, {each.vendor or 'unknown'})" for each in plugin.devices
    )
    what = (
        f"cannot be loaded ({_short(plugin.fault)})" if plugin.fault else devices or "it finds no device here"
    )
    return f"  plugin   {plugin.package}{f' {plugin.version}' if plugin.version else ''}: {what}"


def _short(reason: str) -> str:
    return reason if len(reason) <= _MOST else f"{reason[:_MOST]}…"


def _device_row(trial: TrialRecord, known: OpenVinoDevice | None) -> list[str]:
    what = ""
    if not trial.works:
        what = _short(trial.reason or "")
    elif known:
        what = f"{known.full_name or 'unnamed'}: {', '.join(known.capabilities)}"
    return [trial.name, "yes" if trial.works else "NO", what]
