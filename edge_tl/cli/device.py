"""The verbs of the device: verify, bench, predict, devices. They need no PyTorch; they must hold no logic."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl.cli import fleet
from edge_tl.cli.console import Artifacts, Debug, Device, Json, Progress, finish, grid, milliseconds, say
from edge_tl.target.errors import EXIT_GATE_FAILED, BadInput

BundlePath = Annotated[Path, typer.Argument(help="A bundle that `edge-tl export` wrote.", metavar="BUNDLE")]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Save the result as this JSON file.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (verify, bench, predict, devices):
        app.command()(verb)


def verify(
    ctx: typer.Context,
    bundle: BundlePath,
    data: Annotated[Path | None, typer.Option(help="A labelled folder: adds accuracy on it.")] = None,
    artifact: Artifacts = None,
    device: Device = "CPU",
    on: fleet.On = None,
    targets: fleet.Targets = None,
    wheels: fleet.Wheels = None,
    ssh: fleet.Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Prove, on this machine, that a bundle is still the model it was exported from."""
    if fleet.asked(ctx):
        return fleet.away(ctx)
    from edge_tl.target import verify as room
    from edge_tl.target.bundle import read_bundle

    loaded = read_bundle(bundle)
    with Progress() as progress:
        result = room.verify(loaded, data=data, artifacts=artifact or (), device=device, progress=progress)
    _save(result, out)
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    for entry in result["skipped"]:
        say(f"skipped {entry['artifact']}: {entry['reason']}")
    rows = [
        [
            "pass" if gate["passed"] else "FAIL",
            gate["gate"],
            gate["artifact"] or "all",
            f"{gate['measured']:.4g}",
            f"{gate['limit']:.4g} {gate['unit']}",
            gate["reason"],
        ]
        for gate in result["gates"]
    ]
    text = grid(["", "gate", "artifact", "measured", "limit", "what it says"], rows, left=6)
    if "data" in result:
        text += f"\n\non {result['data']['folder']}:\n" + grid(
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
    text += "\n\n" + (
        "PASSED: the same model on this machine." if result["passed"] else "FAILED: see the gates above."
    )
    if result["passed"]:
        say(f"next: edge-tl bench {bundle}")
    else:
        say('next: edge-tl devices; the README says under "How to read a failed gate" what each one means')
    return finish(result, text, as_json=json, code=0 if result["passed"] else EXIT_GATE_FAILED)


def bench(
    ctx: typer.Context,
    bundle: BundlePath,
    artifact: Artifacts = None,
    quick: Annotated[bool, typer.Option("--quick", help="100 calls each instead of 700: no p99.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Fresh processes per artifact.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Calls per process.")] = None,
    device: Device = "CPU",
    seed: Annotated[int, typer.Option(help="Draws the order of the rounds.")] = 0,
    on: fleet.On = None,
    targets: fleet.Targets = None,
    wheels: fleet.Wheels = None,
    ssh: fleet.Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure latency on this machine, beside PyTorch where it is installed."""
    if fleet.asked(ctx):
        return fleet.away(ctx)
    from dataclasses import replace

    from edge_tl.target import bench as room
    from edge_tl.target.bundle import read_bundle

    loaded = read_bundle(bundle)
    field = room.contestants(
        loaded, [loaded.artifact(a) for a in artifact or []] or loaded.artifacts, device=device
    )
    if _desk_at_hand():
        from edge_tl.host.bundling.pack import torch_contestant

        run = bundle / str(loaded.record["provenance"]["run"])
        field.insert(0, torch_contestant(run, loaded.record))
    effort = room.QUICK if quick else room.THOROUGH
    effort = replace(effort, rounds=rounds or effort.rounds, count=count or effort.count)
    with Progress() as progress:
        result = room.bench(field, effort=effort, seed=seed, progress=progress)
    result["bundle"] = {a.id: [f["sha256"] for f in a.record["files"]] for a in loaded.artifacts}
    _save(result, out)
    for entry in result["skipped"]:
        say(f"skipped {entry['artifact']}: {entry['reason']}")
    say(f"next: edge-tl predict {bundle} IMAGE")
    return finish(result, _latencies(result), as_json=json)


def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    artifact: Annotated[str | None, typer.Option(help="Which artifact; default the recommended one.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels.")] = 3,
    device: Device = "CPU",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Classify images with a bundle."""
    from edge_tl.target import predict as room
    from edge_tl.target.bundle import read_bundle

    loaded = read_bundle(bundle)
    chosen, runtime = room.open_best(loaded, artifact, device)
    result = room.predict(loaded, runtime, images, top=top)
    lines = [
        f"{r['image']}: " + ", ".join(f"{t['label']} {100 * t['probability']:.1f} %" for t in r["top"])
        for r in result
    ]
    say(f"with {chosen.id}; next: edge-tl verify {bundle}")
    return finish(result, "\n".join(lines), as_json=json)


def devices(
    ctx: typer.Context,
    on: fleet.On = None,
    targets: fleet.Targets = None,
    wheels: fleet.Wheels = None,
    ssh: fleet.Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """What this machine has: CPU instructions, execution providers, OpenVINO devices."""
    if fleet.asked(ctx):
        return fleet.away(ctx)
    from edge_tl.target import machine

    found = machine.accelerators()
    result: dict[str, Any] = {
        "machine": machine.identity() | {"vnni": machine.has_vnni()},
        "conditions": machine.conditions(),
        "runtimes": found,
    }
    _save(result, out)
    identity = result["machine"]
    lines = [
        f"CPU        {identity['cpu']}, {identity['cores_allowed']} of {identity['cores']} cores allowed",
        f"ISA        {' '.join(identity['isa']) or 'unknown'}"
        + ("" if identity["vnni"] else "  (no VNNI: INT8 is rarely faster than FP32 here)"),
    ]
    for name, extra, key in (("onnxruntime", "ort", "providers"), ("openvino", "openvino", "devices")):
        entry: Any = found.get(name)
        if entry is None:
            lines.append(f'{name:<10} not installed: pip install "edge-tl[{extra}]"')
        else:
            names = [d if isinstance(d, str) else f"{d['name']} ({d['full_name']})" for d in entry[key]]
            lines.append(
                f"{name:<10} {entry['version']}: {', '.join(n.removesuffix('ExecutionProvider') for n in names)}"
            )
    say("next: edge-tl verify BUNDLE --device NAME")
    return finish(result, "\n".join(lines), as_json=json)


def _latencies(result: dict[str, Any]) -> str:
    rows = []
    for row in result["artifacts"]:
        ms, interval = row["latency_ms"], row["speedup_ci"]
        shown = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
        rows.append(
            [
                row["id"],
                *(milliseconds(ms[p]) for p in ("p50", "p90", "p99")),
                str(ms["n"]),
                f"{row['speedup']:.2f}{shown}",
                f"{row['ran']['device']} {row['ran']['precision']} x{row['ran']['threads']}",
            ]
        )
    text = grid(
        ["artifact", "p50 ms", "p90 ms", "p99 ms", "calls", f"x {result['baseline']}", "ran on"], rows
    )
    if any(row["latency_ms"]["p99"] is None for row in result["artifacts"]):
        text += "\n— : too few calls for this percentile (p50 needs 11, p90 64, p99 662)"
    return text


def _desk_at_hand() -> bool:
    # A device may have PyTorch; it has no desk.
    needed = ("edge_tl.host", "torch", "torchvision", "safetensors", "pydantic")
    return all(importlib.util.find_spec(name) for name in needed)


def _save(result: dict[str, Any], out: Path | None) -> None:
    if out:
        from edge_tl.target.files import write_json

        if out.is_dir():
            raise BadInput(f"--out {out}: a folder is there. Give a file name, e.g. {out / 'result.json'}.")
        write_json(out, result)
        say(f"saved {out}")
