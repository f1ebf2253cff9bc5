"""The verb bench: latency on this machine, at an application's pace, in parts, across machines. It holds no logic."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_tl.cli import bench_text, fleet
from edge_tl.cli.console import AllowFallback, Artifacts, Debug, Device, Json, Progress, finish, say
from edge_tl.cli.device import save_to
from edge_tl.cli.grouped import Grouped
from edge_tl.target.errors import EXIT_GATE_FAILED, BadInput

if TYPE_CHECKING:
    from edge_tl.target.bundle import Artifact, Bundle
    from edge_tl.target.timing.children import Contestant

EFFORT = "How long"
PACE = "At the application's pace"
PARTS = "In parts"
KEEP = "Results that keep"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(cls=Grouped)(bench)


def bench(
    ctx: typer.Context,
    bundle: Annotated[
        list[Path],
        typer.Argument(
            help="A bundle that `edge-tl export` wrote; with --compare, results.", metavar="BUNDLE"
        ),
    ],
    artifact: Artifacts = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    aa: Annotated[
        bool, typer.Option("--aa", help="An artifact against itself: this machine's noise.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Draws the order of the blocks.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="100 calls each, not 700: rarely a p99.", rich_help_panel=EFFORT)
    ] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Fresh processes per artifact.", rich_help_panel=EFFORT)
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Blocks per process, in turns.", rich_help_panel=EFFORT)
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Calls per block.", rich_help_panel=EFFORT)] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Images arrive at this rate; latency from arrival.", rich_help_panel=PACE),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="For how long; default 30.", rich_help_panel=PACE)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="One process for so long: first minute against last, with sensors.", rich_help_panel=PACE
        ),
    ] = None,
    load: Annotated[
        int, typer.Option(min=0, help="Also beside so many busy processes.", rich_help_panel=PACE)
    ] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(help="Milliseconds; default the time between arrivals.", rich_help_panel=PACE),
    ] = None,
    parts: Annotated[
        bool,
        typer.Option("--parts", help="Each step, cold start, memory, size.", rich_help_panel=PARTS),
    ] = False,
    batch: Annotated[
        str | None, typer.Option(help="Images a call, e.g. 1,4,16.", rich_help_panel=PARTS)
    ] = None,
    threads: Annotated[str | None, typer.Option(help="Threads, e.g. 1,2.", rich_help_panel=PARTS)] = None,
    throughput: Annotated[
        bool,
        typer.Option(
            "--throughput", help="Images a second with the runtime's streams.", rich_help_panel=PARTS
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Save the result as this JSON file.", rich_help_panel=KEEP),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Save it in benchmarks/results/MACHINE/ below here.", rich_help_panel=KEEP
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Instead: saved results side by side; the first is the base.",
            rich_help_panel=KEEP,
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="With --compare: draw it, .svg or .png.", rich_help_panel=KEEP)
    ] = None,
    fail_if_slower: Annotated[
        str | None,
        typer.Option(
            help="With --compare: exit 1 when a slow-down beyond e.g. 5% is proven.", rich_help_panel=KEEP
        ),
    ] = None,
    on: fleet.On = None,
    targets: fleet.Targets = None,
    wheels: fleet.Wheels = None,
    ssh: fleet.Ssh = "ssh",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure latency on this machine, beside PyTorch where it is installed."""
    if fleet.asked(ctx):
        return fleet.away(ctx)
    if compare:
        return _compare(bundle, plot=plot, fail_if_slower=fail_if_slower, out=out, as_json=json)
    for given, name in ((plot, "--plot"), (fail_if_slower, "--fail-if-slower")):
        if given is not None:
            raise BadInput(
                f"{name} needs --compare and saved results: edge-tl bench --compare A.json B.json."
            )
    if len(bundle) != 1:
        raise BadInput(f"bench takes one bundle, not {len(bundle)}. For saved results add --compare.")
    from edge_tl.target.bundle import read_bundle
    from edge_tl.target.runtime import notes
    from edge_tl.target.runtimes.offered import able
    from edge_tl.target.timing import bench as room
    from edge_tl.target.timing import pacing, results
    from edge_tl.target.timing import parts as in_parts

    paced = fps is not None or minutes is not None or load > 0
    split = parts or throughput or bool(batch) or bool(threads)
    if paced + split + aa > 1:
        raise BadInput(
            "--aa, a pace (--fps, --minutes, --load) and parts are separate runs. Give one of them."
        )
    if minutes is not None and seconds is not None:
        raise BadInput("--seconds and --minutes both say how long. Give one.")
    for value, name in ((minutes, "--minutes"), (seconds, "--seconds"), (deadline, "--deadline")):
        if value is not None and not 0 < value < 1e6:
            raise BadInput(f"{name} {value:g}: give a time above 0.")
    if fps is None and (deadline is not None or seconds is not None):
        raise BadInput("--seconds and --deadline belong to --fps: give a rate, e.g. --fps 10.")
    loaded = read_bundle(bundle[0])
    asked = [loaded.artifact(name) for name in artifact or []]
    chosen, skipped = able(asked or loaded.artifacts, device)
    one = chosen if asked else _recommended(loaded, chosen)
    where: dict[str, Any] = {"device": device, "allow_fallback": allow_fallback}
    effort = room.effort(quick=quick, noise=aa, rounds=rounds, blocks=blocks, count=count)
    batches, pools = numbers("--batch", batch), numbers("--threads", threads)
    with Progress() as progress:
        if aa:
            (contestant,) = room.contestants(loaded, one[:1], **where)
            result = room.noise(contestant, effort=effort, seed=seed, progress=progress)
        elif minutes is not None:
            (contestant,) = room.contestants(loaded, one[:1], **where)
            result = pacing.sustained(
                contestant, minutes=minutes, fps=fps, load=load, deadline_ms=deadline, progress=progress
            )
        elif paced:
            field = room.contestants(loaded, one, **where)
            result = pacing.pace(
                field, fps=fps, seconds=seconds or 30.0, load=load, deadline_ms=deadline,
                rounds=rounds or pacing.ROUNDS, seed=seed, progress=progress,
            )  # fmt: skip
        elif split:
            result = in_parts.measured(
                loaded,
                chosen,
                steps=parts,
                batches=batches,
                threads=pools,
                streams=throughput,
                **where,
                effort=effort,
                quick=quick,
                seed=seed,
                progress=progress,
            )
        else:
            field = _with_pytorch(loaded, room.contestants(loaded, chosen, **where), device)
            result = room.bench(field, effort=effort, seed=seed, progress=progress)
    result["skipped"] += skipped
    result["warnings"] = notes({row["id"]: row.get("ran", {}) for row in result["artifacts"]})
    result = results.labelled(result, loaded)
    save_to(result, out)
    if save:
        say(f"saved {results.save(result)}")
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    for entry in result["skipped"]:
        say(f"skipped {entry['artifact']}: {entry['reason']}")
    say(bench_text.next_command(result, bundle[0]))
    return finish(result, bench_text.shown(result), as_json=json)


def _compare(
    files: list[Path], *, plot: Path | None, fail_if_slower: str | None, out: Path | None, as_json: bool
) -> int:
    from edge_tl.target.timing import across, results

    limit = across.percent(fail_if_slower) if fail_if_slower is not None else None
    if plot and plot.suffix not in (".svg", ".png"):
        raise BadInput(f"--plot {plot}: give a file that ends in .svg or .png.")
    read = [(str(path), results.read_result(path)) for path in files]
    found = across.compare(read, fail_if_slower=limit)
    if plot:
        from edge_tl.host.pages.bench_plot import write_plot

        write_plot(found, plot)
        say(f"drawn {plot}")
    save_to(found, out)
    code = 0 if found["passed"] else EXIT_GATE_FAILED
    return finish(found, bench_text.compared(found), as_json=as_json, code=code)


def _recommended(bundle: Bundle, able: list[Artifact]) -> list[Artifact]:
    """The recommended artifact where it can run, else the first that can."""
    return sorted(able, key=lambda a: a.id != bundle.record.get("recommended"))[:1]


def _with_pytorch(bundle: Bundle, field: list[Contestant], device: str) -> list[Contestant]:
    desk = ("edge_tl.host", "torch", "torchvision", "safetensors", "pydantic")
    if not all(importlib.util.find_spec(name) for name in desk):
        return field
    from edge_tl.host.bundling.pack import torch_contestants

    run = bundle.root / str(bundle.record["provenance"]["run"])
    return [*torch_contestants(run, bundle.record, device=device), *field]


def numbers(option: str, text: str | None) -> list[int]:
    """[1, 4, 16] for "1,4,16". Raises `BadInput`."""
    try:
        found = [int(word) for word in (text or "").split(",") if text]
    except ValueError:
        found = [0]
    if any(not 0 < number <= 4096 for number in found):
        raise BadInput(f"{option} {text}: give whole numbers from 1, with commas between, e.g. 1,4,16.")
    return list(dict.fromkeys(found))
