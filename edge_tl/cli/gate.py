"""The verb gate: gates and budgets for a pipeline, with a JUnit file. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._console import finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import (
    AllowFallback,
    BundlePath,
    Debug,
    Device,
    Json,
    MaxPixels,
    OutFile,
    WaitQuiet,
    fraction_note,
    wait_quiet_s,
)
from edge_tl.cli._saving import check_out, save_to, saved
from edge_tl.cli._table import grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput
from edge_tl.device.format import DASH, NOT_JUDGED

if TYPE_CHECKING:
    from edge_tl.device.records.budgets import BudgetsResult

MaxDrop = Annotated[
    float | None,
    typer.Option(
        show_default="the bundle's own", help="Largest accuracy drop from PyTorch, in percentage points."
    ),
]
MaxP95 = Annotated[
    float | None,
    typer.Option(
        "--max-p95-ms", metavar="MS", show_default="none", help="Largest p95 of one image, timed here."
    ),
]
MaxSize = Annotated[
    float | None,
    typer.Option("--max-size-mb", metavar="MB", show_default="none", help="Largest size of its files."),
]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write a JUnit XML file, which CI servers show.")]
One = Annotated[
    str | None,
    typer.Option(
        "--artifact", show_default="the recommended one, or what stands in for it here", help="Which one."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="A labelled folder: the drop is measured on it, here, instead of at export."),
]


def gate(
    bundle: BundlePath,
    max_drop: MaxDrop = None,
    max_p95_ms: MaxP95 = None,
    max_size_mb: MaxSize = None,
    data: Data = None,
    artifact: One = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    max_pixels: MaxPixels = None,
    wait_quiet: WaitQuiet = None,
    junit: Junit = None,
    out: OutFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Pass or fail a bundle in CI, with a JUnit file.

    Its gates here, then your budgets. Exit code 0 where everything is kept, 1 where a gate or a budget is not, or could
    not be judged.
    """
    from edge_tl.device.budgets import Budgets, Where, check_budgets
    from edge_tl.device.bundle import read_bundle

    check_out(out, read=[bundle])
    check_out(junit, "--junit", read=[bundle])
    if out and junit and out.resolve() == junit.resolve():
        raise BadInput(f"--junit {junit} and --out are one file. Give two.")
    if max_drop is not None and (note := fraction_note(max_drop)):
        say(f"--max-drop {note}")
    budgets = Budgets(max_drop, max_p95_ms, max_size_mb)
    where = Where(artifact, device, allow_fallback, wait_quiet_s(wait_quiet))
    loaded = read_bundle(bundle, contract_unproven=True).reading(max_pixels)
    with open_listener() as listener:
        result = check_budgets(loaded, budgets, where=where, data=data, listener=listener)
    return saved(lambda: _save(result, out, junit), lambda: _show(result, bundle, as_json=json))


def _save(result: BudgetsResult, out: Path | None, junit: Path | None) -> None:
    from edge_tl.device import junit as xml
    from edge_tl.device.files import write_atomic

    save_to(result.to_json(), out)
    if junit:
        write_atomic(junit, xml.junit(result))
        say(f"saved {junit}")


def _show(result: BudgetsResult, bundle: Path, *, as_json: bool) -> int:
    for warning in result.warnings:
        say(f"warning: {warning}")
    rows = [
        [
            NOT_JUDGED if not gate.judged else "pass" if gate.passed else "FAIL",
            gate.gate,
            DASH if gate.measured is None else f"{gate.measured:.4g}",
            f"{gate.limit:.4g} {gate.unit}",
            gate.reason,
        ]
        for gate in result.gates
    ]
    table = grid(["", "gate", "measured", "limit", "what it says"], rows, left=5, names=2)
    kept = sum(gate.passed is True for gate in result.gates)
    said = "PASSED" if result.passed else "FAILED"
    text = f"{table}\n\n{said}: {result.artifact} keeps {kept} of {len(result.gates)} gates and budgets."
    then = None if result.passed else "next: docs/how-to/failed-gate.md says what each failed gate means"
    code = 0 if result.passed else EXIT_GATE_FAILED
    return finish(result.to_json(), text, as_json=as_json, code=code, then=then)
