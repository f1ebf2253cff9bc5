"""The verb export: from a run to a bundle. It needs the `host` extra and holds no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl import __version__
from edge_tl.cli import _options
from edge_tl.cli._console import Debug, Json, finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import DEFAULTS, MaxPixels, Out, Overwrite, Settings
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import EXIT_GATE_FAILED


def export(
    run: Annotated[Path, typer.Argument(help="A run that `edge-tl finetune` wrote.")],
    int8: Annotated[
        bool | None,
        typer.Option(
            "--int8/--no-int8", show_default=DEFAULTS["export.int8"], help="Quantize to INT8 as well."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            show_default=DEFAULTS["export.max_drop"],
            help="Largest accuracy drop from PyTorch, in percentage points.",
        ),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["export.ladder"],
            help="up-to=N: the last rung that INT8 may climb, 1 to 5; see the README.",
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["export.time_budget_s"],
            help="Of each runtime's ladder, e.g. 90s, 10m or 1h.",
        ),
    ] = None,
    target_cpu: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["export.target_cpu"],
            help="native, avx2 (x86 without VNNI), vnni or arm: what INT8 is made for.",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            show_default=DEFAULTS["export.precisions"],
            help="Further artifacts: fp16 (for accelerators), w8 (8-bit weights, for size); repeatable.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            show_default=DEFAULTS["export.threshold"],
            help="Probability below which you reject an answer: report how many images pass it.",
        ),
    ] = None,
    max_p95: Annotated[
        float | None,
        typer.Option(
            show_default=DEFAULTS["export.max_p95_ms"],
            help="Ship nothing slower: milliseconds, 95th percentile.",
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    max_size: Annotated[
        float | None,
        typer.Option(show_default=DEFAULTS["export.max_size_mb"], help="Ship nothing larger: megabytes."),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Time long enough for a p99 (minutes).")
    ] = False,
    factory: _options.Factory = None,
    out: Out = None,
    overwrite: Overwrite = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Export a run to ONNX and OpenVINO and check it against PyTorch."""
    from edge_tl.device.bench.latency import QUICK, THOROUGH
    from edge_tl.host.export import pipeline

    flags = {
        "export.int8": int8,
        "export.max_drop": max_drop,
        "export.ladder": _options.last_rung(ladder),
        "export.time_budget_s": _options.seconds(time_budget),
        "export.target_cpu": target_cpu,
        "export.precisions": precision,
        "export.threshold": threshold,
        "export.max_p95_ms": max_p95,
        "export.max_size_mb": max_size,
        "data.max_pixels": max_pixels,
    }
    _options.permit(factory)
    recipe = _options.of_run(run).changed(flags, set_).recipe()
    say(_budget(recipe.export.max_drop))
    with open_listener() as listener:
        record = pipeline.export(
            run,
            out,
            recipe,
            effort=THOROUGH if thorough else QUICK,
            overwrite=overwrite,
            listener=listener,
        )
    code = 0 if record["passed"] else EXIT_GATE_FAILED
    return finish(record, summary(record), as_json=json, code=code, then=_to_device(record))


def summary(record: dict[str, Any]) -> str:
    """The table of a bundle and its sentence."""
    from edge_tl.host.reports import confidence_tables
    from edge_tl.host.reports.markdown import sentence, timed_on
    from edge_tl.host.reports.tables import TABLE, table

    rows = [[row[column.key] for column in TABLE] for row in table(record)]
    parts = [explained(grid([column.heading for column in TABLE], rows))]
    if any(row.get("cap") for artifact in record["artifacts"] for row in artifact.get("proven_on") or []):
        columns, shown = confidence_tables.PROVEN, confidence_tables.proven(record)
        cells = [[row[column.key] for column in columns] for row in shown]
        parts.append(grid([column.heading for column in columns], cells))
    timed = [line for line in [timed_on(record)] if line]
    return "\n\n".join([*parts, *timed, sentence(record)])


def _to_device(record: dict[str, Any]) -> str:
    """What to type after an export: where to copy, what to install there, what to run."""
    from edge_tl.host.export.recommendation import EXTRAS

    chosen = next((a for a in record["artifacts"] if a["id"] == record["recommended"]), None)
    extra = EXTRAS[chosen["runtime"]] if chosen else ",".join(EXTRAS.values())
    return (
        f"next: copy {record['bundle']} to the device; install edge-tl there with the extra [{extra}] (pip install "
        f'"./edge_tl-{__version__}-py3-none-any.whl[{extra}]", see the README), then: '
        f"edge-tl verify {Path(record['bundle']).name}"
    )


def _budget(max_drop: float) -> str:
    text = f"budget: accuracy may drop by {max_drop:g} percentage points (at 90 %: to {90 - max_drop:g} %)"
    if 0 < max_drop < 0.05:
        text += f"; {max_drop:g} is not a fraction: for {100 * max_drop:g} percentage points give {100 * max_drop:g}"
    return text
