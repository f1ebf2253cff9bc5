"""The verb bench: latency on this machine, at an application's rate, in parts; saved results side by side."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge_tl.cli import _bench_options as options
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
    WaitQuiet,
    Wheels,
    wait_quiet_s,
)
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._track import Track, open_tracking
from edge_tl.device.errors import BadInput

if TYPE_CHECKING:
    from edge_tl.device.bench.options import BenchOptions
    from edge_tl.device.records.bench import BenchResult


def bench(
    ctx: typer.Context,
    bundle: options.BundleOrResults,
    artifact: Artifacts = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    aa: options.Aa = False,
    seed: options.Seed = 0,
    quick: options.Quick = False,
    rounds: options.Rounds = None,
    blocks: options.Blocks = None,
    count: options.Count = None,
    fps: options.Fps = None,
    seconds: options.Seconds = None,
    minutes: options.Minutes = None,
    load: options.Load = 0,
    deadline: options.Deadline = None,
    parts: options.Parts = False,
    batch: options.Batch = None,
    threads: options.Threads = None,
    throughput: options.Throughput = False,
    wait_quiet: WaitQuiet = None,
    out: options.OutFile = None,
    save: options.Save = False,
    compare: options.Compare = False,
    plot: options.Plot = None,
    fail_if_slower: options.FailIfSlower = None,
    run: options.Run = None,
    factory: Factory = None,
    track: Track = None,
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
    options.check_compare(ctx)
    check_out(out, read=bundle)
    if compare:
        check_out(plot, "--plot", read=bundle)
        return _saved_results.compare_saved(
            bundle, plot=plot, fail_if_slower=fail_if_slower, out=out, as_json=json
        )
    asked = _asked(ctx)
    # A device has no trackers, and no part of edge-tl that knows any.
    with open_tracking(track, bundle[0].resolve().name) if track else nullcontext() as tracking:
        result = _measure(bundle[0], asked, run=run, factory=factory, save=save)
        if tracking:
            tracking.bench(result)
    return saved(lambda: _save(result, out, save), lambda: _show(result, bundle[0], as_json=json))


def _asked(ctx: typer.Context) -> BenchOptions:
    """What was typed, as one object. Raises `BadInput` for what does not go together."""
    from edge_tl.device.bench.options import BenchOptions

    given = ctx.params
    same = ("device", "allow_fallback", "aa", "seed", "quick", "rounds", "blocks", "count", "fps", "seconds")
    asked = BenchOptions(
        **{name: given[name] for name in (*same, "minutes", "load", "parts", "throughput")},
        artifacts=tuple(given["artifact"] or ()),
        deadline_ms=given["deadline"],
        wait_quiet_s=wait_quiet_s(given["wait_quiet"]),
        batches=options.numbers("--batch", given["batch"]),
        threads=options.numbers("--threads", given["threads"]),
    )
    for name in ("run", "factory"):
        if given[name] and asked.kind != "latency":
            raise BadInput(
                f"--{name} has no effect here: PyTorch is timed beside the artifacts only. Leave it out."
            )
    return asked


def _measure(
    path: Path, asked: BenchOptions, *, run: Path | None, factory: str | None, save: bool
) -> BenchResult:
    from edge_tl import api
    from edge_tl.device.bench import results
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.machine import identity

    if save:
        check_out(results.FOLDER / results.machine_slug(identity()) / "result.json", "--save")
    bundle = read_bundle(path)
    with open_listener() as listener:
        return api.bench(bundle, asked, run=run, factory=factory, listener=listener)


def _save(result: BenchResult, out: Path | None, save: bool) -> None:
    from edge_tl.device.bench.results import save_result

    save_to(result.to_json(), out)
    if save:
        say(f"saved {save_result(result)}")


def _show(result: BenchResult, bundle: Path, *, as_json: bool) -> int:
    for warning in result.warnings:
        say(f"warning: {warning}")
    for entry in result.skipped:
        say(f"skipped {entry.artifact}: {entry.reason}")
    then = _bench_text.next_command(result, bundle)
    return finish(result.to_json(), _bench_text.result_text(result), as_json=as_json, then=then)
