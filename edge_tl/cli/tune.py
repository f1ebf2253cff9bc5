"""The verb tune: what runs best on this machine, remembered beside the bundle. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli import _tune_text
from edge_tl.cli._completion import one_of
from edge_tl.cli._console import finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import (
    AnyDevice,
    Artifacts,
    BundlePath,
    Debug,
    Json,
    On,
    OutFile,
    RemoteOptions,
    Ssh,
    Targets,
    WaitQuiet,
    Wheels,
    wait_quiet_s,
)
from edge_tl.cli._remote import run_remotely
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.device.errors import EXIT_GATE_FAILED

if TYPE_CHECKING:
    from edge_tl.device.records.tuned import TunedRecord

Objective = Annotated[
    str,
    typer.Option(
        autocompletion=one_of("latency", "throughput", "memory"),
        help="What is to be best: latency, throughput or memory.",
    ),
]
MaxP95 = Annotated[
    float | None,
    typer.Option(
        "--max-p95", metavar="MS", help="Pass over what has a p95 beyond this.", show_default="none"
    ),
]
Budget = Annotated[
    float, typer.Option(metavar="SECONDS", help="About how long it may take; a slow machine takes longer.")
]


def tune(
    ctx: typer.Context,
    bundle: BundlePath,
    objective: Objective = "latency",
    max_p95: MaxP95 = None,
    artifact: Artifacts = None,
    device: AnyDevice = None,
    budget: Budget = 25.0,
    wait_quiet: WaitQuiet = None,
    on: On = None,
    targets: Targets = None,
    wheels: Wheels = None,
    ssh: Ssh = "ssh",
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Pick the fastest right artifact for this machine.

    The gates, then a short bench of every artifact that passes, with several numbers of threads. The pick is written
    into BUNDLE/tuned/, where predict and Bundle.open find it.
    """
    remote = RemoteOptions(on, targets, wheels, ssh)
    if remote.given:
        return run_remotely(ctx, remote)
    check_out(out, read=[bundle])
    from edge_tl import api
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.tuning.options import TuneOptions

    wait_s, only = wait_quiet_s(wait_quiet), tuple(artifact or ())
    asked = TuneOptions(objective, max_p95, only, device, budget, wait_quiet_s=wait_s)  # type: ignore[arg-type]
    loaded = read_bundle(bundle)
    with open_listener() as listener:
        result = api.tune(
            loaded,
            objective=asked.objective,
            max_p95_ms=asked.max_p95_ms,
            artifacts=asked.artifacts,
            device=asked.device,
            budget_s=asked.budget_s,
            wait_quiet_s=asked.wait_quiet_s,
            listener=listener,
        )
    return saved(lambda: save_to(result.to_json(), out), lambda: _show(result, bundle, as_json=json))


def _show(result: TunedRecord, bundle: Path, *, as_json: bool) -> int:
    for line in _tune_text.remarks(result):
        say(line)
    code = EXIT_GATE_FAILED if result.artifact is None else 0
    then = _tune_text.next_command(result, bundle)
    return finish(result.to_json(), _tune_text.result_text(result), as_json=as_json, code=code, then=then)
