"""The verb bench: latency on this machine, at an application's pace, in parts, across machines. It holds no logic."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_tl.cli import _bench_text, _saved_results
from edge_tl.cli._console import finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import (
    AllowFallback,
    Artifacts,
    Debug,
    Device,
    Factory,
    Json,
    On,
    RemoteOptions,
    Ssh,
    Targets,
    Wheels,
)
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.device.errors import BadInput, ForeignModel

if TYPE_CHECKING:
    from edge_tl.device.bench.workers import Workload
    from edge_tl.device.bundle import Artifact, Bundle

EFFORT = "How long"
PACE = "At the application's pace"
PARTS = "In parts"
KEEP = "Results that keep"
_WITH_COMPARE = {"bundle", "compare", "plot", "fail_if_slower", "out", "json", "debug"}


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
        int | None,
        typer.Option(
            min=1,
            show_default="7, with --quick 5",
            help="Fresh processes per artifact.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="10, with --quick 5",
            help="Blocks per process, in turns.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1, show_default="10, with --quick 4", help="Calls per block.", rich_help_panel=EFFORT
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            show_default="none",
            help="Images arrive at this rate; latency from arrival.",
            rich_help_panel=PACE,
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(show_default="30", help="For how long.", rich_help_panel=PACE)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            show_default="none",
            help="One process for so long: first minute against last, with sensors.",
            rich_help_panel=PACE,
        ),
    ] = None,
    load: Annotated[
        int, typer.Option(min=0, help="Also beside so many busy processes.", rich_help_panel=PACE)
    ] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(
            show_default="the time between arrivals", help="Milliseconds after arrival.", rich_help_panel=PACE
        ),
    ] = None,
    parts: Annotated[
        bool,
        typer.Option("--parts", help="Each step, cold start, memory, size.", rich_help_panel=PARTS),
    ] = False,
    batch: Annotated[
        str | None, typer.Option(show_default="1", help="Images a call, e.g. 1,4,16.", rich_help_panel=PARTS)
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(show_default="the allowed cores", help="Threads, e.g. 1,2.", rich_help_panel=PARTS),
    ] = None,
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
    run: Annotated[
        Path | None,
        typer.Option("--run", help="The run it was exported from: PyTorch is timed with its model."),
    ] = None,
    factory: Factory = None,
    on: On = None,
    targets: Targets = None,
    wheels: Wheels = None,
    ssh: Ssh = "ssh",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure latency on this machine, beside PyTorch if installed."""
    remote = RemoteOptions(on, targets, wheels, ssh)
    if remote.given:
        return run_remotely(ctx, remote)
    _check_options(ctx)
    check_out(out, read=bundle)
    if compare:
        check_out(plot, "--plot", read=bundle)
        return _saved_results.compare_saved(
            bundle, plot=plot, fail_if_slower=fail_if_slower, out=out, as_json=json
        )
    from edge_tl.device.bench import breakdown, latency, results
    from edge_tl.device.bench import paced as paced_
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.machine import identity
    from edge_tl.device.predict import instead
    from edge_tl.device.runtimes.devices import runnable_artifacts

    paced = fps is not None or minutes is not None or load > 0
    split = parts or throughput or bool(batch) or bool(threads)
    if save:
        check_out(results.FOLDER / results.machine_slug(identity()) / "result.json", "--save")
    loaded = read_bundle(bundle[0])
    asked = [loaded.artifact(name) for name in artifact or []]
    chosen, skipped = runnable_artifacts(asked or loaded.artifacts, device)
    where: dict[str, Any] = {"device": device, "allow_fallback": allow_fallback}
    effort = latency.effort(quick=quick, noise=aa, rounds=rounds, blocks=blocks, count=count)
    batches, pools = numbers("--batch", batch), numbers("--threads", threads)
    with open_listener() as listener:
        if aa or paced:
            # Of those that were not asked for by name, the recommended one where it can run, else the first that can.
            order = chosen if asked else _recommended_first(loaded, chosen)
            if not order:
                raise BadInput("every artifact that can run here failed its gates. Name one with --artifact.")
            field = latency.workloads(loaded, order, **where)
            field, more = latency.startable(field, most=None if asked else 1)
            skipped += more
            if not asked and (note := instead(loaded, loaded.artifact(field[0].id))):
                listener.note(f"note: {note}")
        if aa:
            result = latency.time_against_itself(field[0], effort=effort, seed=seed, listener=listener)
        elif minutes is not None:
            result = paced_.time_sustained(
                field[0], minutes=minutes, fps=fps, load=load, deadline_ms=deadline, listener=listener
            )
        elif paced:
            result = paced_.time_paced(
                field, fps=fps, seconds=seconds or 30.0, load=load, deadline_ms=deadline,
                rounds=rounds or paced_.ROUNDS, seed=seed, listener=listener,
            )  # fmt: skip
        elif split:
            result = breakdown.time_breakdown(
                loaded,
                chosen,
                steps=parts,
                batches=batches,
                threads=pools,
                streams=throughput,
                **where,
                effort=effort,
                quick=quick,
                rounds=rounds,
                calls=count,
                seed=seed,
                listener=listener,
            )
        else:
            field = latency.workloads(loaded, chosen, **where)
            try:
                if factory is not None:
                    from edge_tl.cli._recipe_options import permit_factory

                    permit_factory(factory)
                field = _with_pytorch(loaded, field, device, run)
            except ForeignModel as error:
                skipped.append({"artifact": "pytorch", "reason": str(error)})
            result = latency.time_interleaved(
                field, effort=effort, seed=seed, lenient=True, listener=listener
            )
    result["skipped"] = skipped + result["skipped"]
    result["warnings"] = latency.warnings(result)
    result = results.with_bundle(result, loaded)

    def keep() -> None:
        save_to(result, out)
        if save:
            say(f"saved {results.save_result(result)}")

    def show() -> int:
        for warning in result["warnings"]:
            say(f"warning: {warning}")
        for entry in result["skipped"]:
            say(f"skipped {entry['artifact']}: {entry['reason']}")
        then = _bench_text.next_command(result, bundle[0])
        return finish(result, _bench_text.shown(result), as_json=json, then=then)

    return saved(keep, show)


def _check_options(ctx: typer.Context) -> None:
    """Refuse options that do not go together, because one of them would be ignored. Raises `BadInput`."""
    value = ctx.params
    typed = {
        str(option.name): option.opts[0]
        for option in ctx.command.params
        if (source := ctx.get_parameter_source(str(option.name))) and source.name == "COMMANDLINE"
    }

    def refuse(names: Iterable[str], why: str) -> None:
        for name in names:
            if name in typed:
                raise BadInput(f"{typed[name]} {why}")

    if value["compare"]:
        others = [name for name in typed if name not in _WITH_COMPARE]
        refuse(others, "does not go with --compare, which reads saved results. Leave it out.")
        return
    refuse(
        ("plot", "fail_if_slower"),
        "needs --compare and saved results: edge-tl bench --compare A.json B.json.",
    )
    if len(value["bundle"]) != 1:
        raise BadInput(
            f"bench takes one bundle, not {len(value['bundle'])}. For saved results add --compare."
        )
    paced = value["fps"] is not None or value["minutes"] is not None or value["load"] > 0
    swept = bool(value["batch"]) or bool(value["threads"])
    if paced + (value["parts"] or value["throughput"] or swept) + value["aa"] > 1:
        raise BadInput(
            "--aa, a pace (--fps, --minutes, --load) and parts are separate runs. Give one of them."
        )
    if value["minutes"] is not None and value["seconds"] is not None:
        raise BadInput("--seconds and --minutes both say how long. Give one.")
    for name in ("minutes", "seconds", "deadline"):
        if value[name] is not None and not 0 < value[name] < 1e6:
            raise BadInput(f"--{name} {value[name]:g}: give a time above 0.")
    if value["fps"] is None and (value["deadline"] is not None or value["seconds"] is not None):
        raise BadInput("--seconds and --deadline belong to --fps: give a rate, e.g. --fps 10.")
    if value["minutes"] is not None:
        refuse(("rounds",), "does not go with --minutes, which is one process. Leave it out.")
    if paced:
        refuse(
            ("quick", "blocks", "count"),
            "has no effect at a pace: --seconds or --minutes say how long. Leave it out.",
        )
    if value["parts"] and not swept:
        refuse(("blocks",), "has no effect on --parts, whose processes are not timed in turns. Leave it out.")
    if paced or value["aa"] or value["parts"] or value["throughput"] or swept:
        refuse(
            ("run", "factory"),
            "has no effect here: PyTorch is timed beside the artifacts only. Leave it out.",
        )
    if (value["aa"] or value["minutes"] is not None) and len(value["artifact"] or ()) > 1:
        raise BadInput("--aa and --minutes measure one artifact. Give --artifact once.")


def _recommended_first(bundle: Bundle, able: list[Artifact]) -> list[Artifact]:
    from edge_tl.device.predict import best_first

    return best_first(bundle, able)


def _with_pytorch(
    bundle: Bundle, field: list[Workload], device: str, run: Path | None = None
) -> list[Workload]:
    """PyTorch's side first, where it is installed. A run is only ever the one given on the command line: a bundle may
    be anybody's, and names no code and no path. Raises `BadInput`, `ForeignModel`."""
    desk = ("edge_tl.host", "torch", "torchvision", "safetensors", "pydantic")
    if not all(importlib.util.find_spec(name) for name in desk):
        if run:
            raise BadInput(
                f'--run {run}: PyTorch is not installed here. Leave it out, or: pip install "edge-tl[host]"'
            )
        return field
    from edge_tl.host.export.pipeline import torch_workloads
    from edge_tl.host.models import factories
    from edge_tl.host.runs import checkpoint

    record = checkpoint.read(run) if run else None
    if record:
        factories.check_permitted(record.model, f"{run}/{checkpoint.RECORD}")
    if record and list(record.labels) != bundle.labels:
        raise BadInput(f"--run {run}: its classes are not the bundle's. Give the run it was exported from.")
    return [*torch_workloads(run, bundle.record, device=device), *field]


def numbers(option: str, text: str | None) -> list[int]:
    """[1, 4, 16] for "1,4,16". Raises `BadInput`."""
    try:
        found = [int(word) for word in (text or "").split(",") if text]
    except ValueError:
        found = [0]
    if any(not 0 < number <= 4096 for number in found):
        raise BadInput(f"{option} {text}: give whole numbers from 1, with commas between, e.g. 1,4,16.")
    return list(dict.fromkeys(found))
