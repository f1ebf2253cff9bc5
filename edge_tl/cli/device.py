"""The verbs of the device but bench: verify, predict, devices. They need no PyTorch; they must hold no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl.cli import _remote
from edge_tl.cli._console import (
    AllowFallback,
    Artifacts,
    Debug,
    Device,
    Json,
    complain,
    finish,
    say,
)
from edge_tl.cli._help import Grouped
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import MaxPixels
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_BAD_INPUT, EXIT_GATE_FAILED
from edge_tl.device.text import printable

SHOWN = 10  # files left out, in a terminal
BundlePath = Annotated[Path, typer.Argument(help="A bundle that `edge-tl export` wrote.", metavar="BUNDLE")]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Save the result as this JSON file.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (verify, predict, devices):
        app.command(cls=Grouped)(verb)


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
    """Prove, on this machine, that a bundle is still the model it was exported from."""
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
            f"{gate['measured']:.4g}",
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
    text += "\n\n" + _verdict(result, loaded.record.get("recommended"))
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


def predict(
    bundle: BundlePath,
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or folders with images below them.", metavar="IMAGE")
    ],
    artifact: Annotated[
        str | None, typer.Option(help="Which artifact.", show_default="the recommended one")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels.")] = 3,
    max_pixels: MaxPixels = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Classify images with a bundle."""
    from edge_tl.device import predict as room
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.images.remarks import sentences
    from edge_tl.device.runtimes.open import notes, ran

    loaded = read_bundle(bundle).reading(max_pixels)
    files, failed = room.pictures(images)
    chosen, runtime = room.open_best(loaded, artifact, device, allow_fallback=allow_fallback)
    results, bad = room.answer(loaded, runtime, files, top=top)
    failed += bad
    for sentence in sentences((printable(r["image"]), r["remark"]) for r in results if "remark" in r):
        say(f"warning: {sentence}")
    for warning in notes({chosen.id: ran(runtime)} if device.upper() != "CPU" else {}):
        say(f"warning: {warning}")
    if artifact is None and (stand_in := room.instead(loaded, chosen)):
        say(f"note: {stand_in}")
    for one in failed:
        complain(f"not a usable image: {printable(one['image'])}: {printable(one['reason'])}")
    if not results:  # as for any bad input: no result
        return EXIT_BAD_INPUT
    lines = [
        f"{printable(r['image'])}: "
        + ", ".join(f"{printable(t['label'])} {100 * t['probability']:.1f} %" for t in r["top"])
        for r in results
    ]
    result = {"artifact": chosen.id, "device": runtime.device, "results": results, "failed": failed}
    then = f"with {chosen.id} on {runtime.device}; next: edge-tl verify {bundle}"
    code = EXIT_BAD_INPUT if failed else 0
    return finish(result, "\n".join(lines), as_json=json, code=code, then=then)


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
    """What this machine has: CPU instructions, execution providers, OpenVINO devices."""
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
