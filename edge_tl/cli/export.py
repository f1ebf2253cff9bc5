"""The verb export: from a run to a bundle. It needs the `host` extra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli import _recipe_options
from edge_tl.cli._bundle_text import bundle_text, next_command
from edge_tl.cli._completion import one_of
from edge_tl.cli._console import finish, say
from edge_tl.cli._latest import latest_run
from edge_tl.cli._options import Debug, Factory, Json, MaxPixels, WaitQuiet, fraction_note, wait_quiet_s
from edge_tl.cli._recipe_options import DEFAULTS, Out, Overwrite, Settings
from edge_tl.cli._track import Track, open_tracking
from edge_tl.cli._web_options import Npm, OrtWebPath, Web, page_of_export, taken_ort_web
from edge_tl.device.errors import EXIT_GATE_FAILED

if TYPE_CHECKING:
    from edge_tl.host.recipe.recipe_input import RecipeInput
    from edge_tl.host.recipe.schema import Recipe

Run = Annotated[
    Path, typer.Argument(help="A run that `edge-tl finetune` wrote, or latest.", callback=latest_run)
]
Int8 = Annotated[
    bool | None,
    typer.Option("--int8/--no-int8", show_default=DEFAULTS["export.int8"], help="Quantize to INT8 as well."),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        show_default=DEFAULTS["export.max_drop"],
        help="Largest accuracy drop from PyTorch, in percentage points.",
    ),
]
Ladder = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["export.ladder"],
        help="up-to=N: the last rung that INT8 may climb, 1 to 5; see docs/how-to/export.md.",
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["export.time_budget_s"],
        help="Of each runtime's ladder, e.g. 90s, 10m or 1h.",
    ),
]
TargetCpu = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["export.target_cpu"],
        autocompletion=one_of("any", "native", "avx2", "vnni", "arm"),
        help="What INT8 is made for: any (every CPU), native, avx2 (x86 without VNNI), vnni or arm.",
    ),
]
DeviceProfile = Annotated[
    str | None,
    typer.Option(
        show_default=DEFAULTS["export.device_profile"],
        autocompletion=one_of("any", "tensorrt"),
        help="any, or tensorrt: the INT8 ONNX file for NVIDIA's compiler, symmetric; slow on a CPU.",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        show_default=DEFAULTS["export.precisions"],
        autocompletion=one_of("fp16", "w8"),
        help="Further artifacts: fp16 (for accelerators), w8 (8-bit weights, for size); repeatable.",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        show_default=DEFAULTS["export.input"],
        autocompletion=one_of("tensor", "image", "both"),
        help="tensor; image: artifacts that take raw pixels and preprocess themselves; both.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        show_default=DEFAULTS["export.threshold"],
        help="Probability below which you reject an answer: report how many images pass it.",
    ),
]
MaxP95 = Annotated[
    float | None,
    typer.Option(
        show_default=DEFAULTS["export.max_p95_ms"],
        help="Ship nothing slower: milliseconds, 95th percentile.",
    ),
]
MaxSize = Annotated[
    float | None,
    typer.Option(show_default=DEFAULTS["export.max_size_mb"], help="Ship nothing larger: megabytes."),
]
Thorough = Annotated[
    bool, typer.Option("--thorough", help="Time long enough for a p99, and each step (minutes).")
]


def export(
    run: Run,
    int8: Int8 = None,
    max_drop: MaxDrop = None,
    ladder: Ladder = None,
    time_budget: TimeBudget = None,
    target_cpu: TargetCpu = None,
    device_profile: DeviceProfile = None,
    precision: Precisions = None,
    input_: Input = None,
    threshold: Threshold = None,
    max_p95: MaxP95 = None,
    max_pixels: MaxPixels = None,
    max_size: MaxSize = None,
    thorough: Thorough = False,
    wait_quiet: WaitQuiet = None,
    factory: Factory = None,
    web: Web = False,
    ort_web: OrtWebPath = None,
    npm: Npm = False,
    out: Out = None,
    overwrite: Overwrite = False,
    track: Track = None,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Export a run to ONNX and OpenVINO and check it against PyTorch."""
    from edge_tl.cli._training_listeners import open_training_listener
    from edge_tl.device.bench.effort import QUICK, THOROUGH
    from edge_tl.device.bundle import read_report
    from edge_tl.host.export import pipeline

    fields = {
        "data.max_pixels": max_pixels,
        "export.int8": int8,
        "export.max_drop": max_drop,
        "export.ladder": _recipe_options.ladder_rung(ladder),
        "export.time_budget_s": _recipe_options.time_budget_s(time_budget),
        "export.target_cpu": target_cpu,
        "export.device_profile": device_profile,
        "export.precisions": precision,
        "export.input": input_,
        "export.threshold": threshold,
        "export.max_p95_ms": max_p95,
        "export.max_size_mb": max_size,
    }
    _recipe_options.permit_factory(factory)
    recipe = _told(_recipe_options.run_settings(run).changed(fields, set_))
    taken = taken_ort_web(web, ort_web, npm, out, overwrite=overwrite)
    effort = replace(THOROUGH if thorough else QUICK, wait_quiet_s=wait_quiet_s(wait_quiet), steps=thorough)
    with open_tracking(track, run.resolve().name, recipe) as tracking, open_training_listener() as listener:
        record = pipeline.export(run, out, recipe, effort=effort, overwrite=overwrite, listener=listener)
        folder = Path(record["bundle"])
        bundle = read_report(folder)
        tracking.bundle(folder, bundle)
    code = 0 if record["passed"] else EXIT_GATE_FAILED
    page, said = page_of_export(folder, taken, overwrite=overwrite, then=next_command(bundle, folder))
    return finish(record | page, bundle_text(bundle), as_json=json, code=code, then=said)


def _told(given: RecipeInput) -> Recipe:
    """The recipe, of which a person was told. Raises `BadInput`."""
    given.refuse_unused()
    recipe = given.recipe()
    _recipe_options.tell_recipe(recipe)
    say(_budget(recipe.export.max_drop))
    return recipe


def _budget(max_drop: float) -> str:
    text = f"budget: accuracy may drop by {max_drop:g} percentage points (at 90 %: to {90 - max_drop:g} %)"
    note = fraction_note(max_drop)
    return f"{text}; {note}" if note else text
