"""The verbs of the desk: finetune, models, export, report, demo. They need the `host` extra and hold no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl import __version__
from edge_tl.cli import options
from edge_tl.cli.console import Debug, Json, Progress, finish, say
from edge_tl.cli.grid import explained, grid
from edge_tl.cli.grouped import Grouped
from edge_tl.cli.options import DEFAULTS, MaxPixels, Out, Overwrite, Settings
from edge_tl.target.errors import EXIT_GATE_FAILED, BadInput, BundleError


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (finetune, models, export, report, demo):
        app.command(cls=Grouped)(verb)
    app.command("import", cls=Grouped)(import_)


def finetune(
    data_or_recipe: Annotated[
        str,
        typer.Argument(
            help="A folder of images, a .csv list, .tar shards, a .yaml recipe, a recipe's name, or a run's folder."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(show_default=DEFAULTS["model.name"], help="What to fine-tune. See `edge-tl models`."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["model.weights"],
            help="imagenet, embedded, none, or a path to .safetensors or .pth.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["train.strategy"], help="auto, head, partial, full, lp-ft or gradual."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["train.epochs"], help="For strategies that pass over the images."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["train.batch_size"], help="Images per step, over all processes."),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(show_default=DEFAULTS["train.lr"], help="Peak learning rate of the last block."),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(show_default=DEFAULTS["augment.preset"], help="none, light, medium or strong."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["model.image_size"], help="Side of the model's input in pixels."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["data.group_by"],
            help="Regular expression on paths: one match, one scene, one split.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(show_default=DEFAULTS["data.folds"], help="Cross-validate over so many folds as well."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
    ] = None,
    max_pixels: MaxPixels = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files.")] = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fine-tune a classifier on your own images."""
    from edge_tl.host import processes
    from edge_tl.host.training import finetune as room

    flags = {
        "model.name": model,
        "model.weights": weights,
        "train.strategy": strategy,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "augment.preset": augment,
        "model.image_size": image_size,
        "data.group_by": group_by,
        "data.folds": folds,
        "data.max_pixels": max_pixels,
        "train.tensorboard": tensorboard or None,
        "seed": seed,
    }
    asked = options.of_data(data_or_recipe).changed(flags, set_)
    recipe, run = asked.recipe(), asked.run
    if not processes.is_main():  # the main process speaks and writes for all
        room.finetune(recipe, out or run, resumed=resume, overwrite=overwrite)
        return 0
    with Progress() as progress:
        result = room.finetune(
            recipe,
            out or run,
            resumed=resume,
            overwrite=overwrite,
            progress=progress,
            note=progress.note,
            watch=progress.watch,
        )
    counts = ", ".join(f"{n} {split}" for split, n in result["n"].items() if n)
    return finish(
        result,
        f"{result['run']}: {result['model']}, {result['strategy']}, {result['classes']} classes, {counts} images\n"
        f"{_accuracy(result['metrics'])}; {result['seconds']['total']:.1f} s",
        as_json=json,
        then=f"next: edge-tl export {result['run']} --int8",
    )


def import_(
    weights: Annotated[
        Path, typer.Argument(help="A whole classifier's state dict: .safetensors, .pth or .pt.")
    ],
    data: Annotated[str, typer.Option(help="Labelled images it is judged on, as for finetune.")],
    model: Annotated[
        str | None, typer.Option(help="Its architecture: a name of `edge-tl models`, or timm:NAME.")
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(help="Or package.module:function, which returns the untrained torch.nn.Module."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            show_default=DEFAULTS["model.image_size"],
            help="Side of the input in pixels, the shorter side resized to it; else as published.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            show_default=DEFAULTS["labels"],
            help="One label a line, in the order of the outputs; else the sorted folders.",
        ),
    ] = None,
    reorder: Annotated[
        bool, typer.Option("--reorder", help="Match labels and folders by name where their order differs.")
    ] = False,
    max_pixels: MaxPixels = None,
    match: Annotated[
        str,
        typer.Option(
            help="name, or order: tensors of other names, of the same shapes in the same order, are taken."
        ),
    ] = "name",
    seed: Annotated[
        int | None, typer.Option(show_default=DEFAULTS["seed"], help="Draws everything that is random.")
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Make a run of a classifier that was trained elsewhere."""
    from edge_tl.host import importing, zoo

    if (model is None) == (factory is None):
        raise BadInput("give the architecture: either --model NAME or --factory package.module:function.")
    flags = {
        "data.path": data,
        "data.max_pixels": max_pixels,
        "model.name": model or f"{zoo.FACTORY}{factory}",
        "model.weights": str(weights),
        "model.image_size": image_size,
        "seed": seed,
    }
    recipe = options.Asked({}, "options").changed(flags, set_).recipe()
    with Progress() as progress:
        result = importing.adopt(
            weights,
            recipe,
            out,
            labels=labels,
            reorder=reorder,
            match=match,
            overwrite=overwrite,
            progress=progress,
            note=progress.note,
        )
    return finish(
        result,
        f"{result['run']}: {result['model']}, {result['classes']} classes\n"
        f"{_accuracy(result['metrics'])}; {result['seconds']['total']:.1f} s",
        as_json=json,
        then=f"next: edge-tl export {result['run']} --int8" + (f" --factory {factory}" if factory else ""),
    )


def models(json: Json = False, debug: Debug = False) -> int:
    """The models that can be fine-tuned."""
    from edge_tl.host import zoo

    rows = zoo.table()
    lines = [
        [
            r["name"],
            f"{r['params']:.1f}",
            str(r["image_size"]),
            "—" if r["accuracy"] is None else f"{100 * r['accuracy']:.1f}",
        ]
        for r in rows
    ]
    return finish(
        {"models": rows},
        explained(grid(["model", "parameters M", "input px", "ImageNet top-1 %"], lines)),
        as_json=json,
        then="next: edge-tl finetune FOLDER --model NAME. With the extra timm, --model timm:NAME opens timm's.",
    )


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
    factory: options.Factory = None,
    out: Out = None,
    overwrite: Overwrite = False,
    set_: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Export a run to ONNX and OpenVINO, prove it against PyTorch, and pack the bundle."""
    from edge_tl.host.bundling import pack
    from edge_tl.target.timing.bench import QUICK, THOROUGH

    flags = {
        "export.int8": int8,
        "export.max_drop": max_drop,
        "export.ladder": options.last_rung(ladder),
        "export.time_budget_s": options.seconds(time_budget),
        "export.target_cpu": target_cpu,
        "export.precisions": precision,
        "export.threshold": threshold,
        "export.max_p95_ms": max_p95,
        "export.max_size_mb": max_size,
        "data.max_pixels": max_pixels,
    }
    options.permit(factory)
    recipe = options.of_run(run).changed(flags, set_).recipe()
    say(_budget(recipe.export.max_drop))
    with Progress() as progress:
        record = pack.export(
            run,
            out,
            recipe,
            effort=THOROUGH if thorough else QUICK,
            overwrite=overwrite,
            progress=progress,
            note=progress.note,
        )
    code = 0 if record["passed"] else EXIT_GATE_FAILED
    return finish(record, _summary(record), as_json=json, code=code, then=_to_device(record))


def report(
    run_or_bundle: Annotated[Path, typer.Argument(help="A run or a bundle.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; default beside.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write the report as Markdown and as one self-contained HTML page."""
    from edge_tl.host import checkpoint
    from edge_tl.host.pages import page
    from edge_tl.target import bundle as bundles
    from edge_tl.target.files import write_atomic
    from edge_tl.target.report import markdown, run_markdown, run_sentence, sentence

    folder = out or run_or_bundle
    if not run_or_bundle.is_dir():
        raise BadInput(
            f"no such run or bundle: {run_or_bundle}. Give the folder that `edge-tl finetune` or `export` wrote."
        )
    if (run_or_bundle / bundles.RECORD).is_file():
        record = bundles.read_report(run_or_bundle)
        try:
            text, said = markdown(record), sentence(record)
            page.write_page(record, folder / "report.html")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A device needs none of what only a report shows, so reading the bundle did not look at it.
            raise BundleError(
                f"{run_or_bundle}: its record is not as export writes it ({type(error).__name__}: {error}). Copy the "
                "bundle again, or export again."
            ) from None
    else:
        record = checkpoint.read(run_or_bundle)
        text, said = run_markdown(record), run_sentence(record)
        page.write_run_page(record, folder / "report.html")
    write_atomic(folder / "report.md", text.encode())
    result = {"report": str(folder / "report.html"), "markdown": str(folder / "report.md")}
    return finish(
        result,
        f"{said}\nreport: {result['report']} and {result['markdown']}",
        as_json=json,
        then=f"next: open {folder / 'report.html'}",
    )


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where everything goes.")] = Path("demo"),
    json: Json = False,
    debug: Debug = False,
) -> int:
    """The whole chain on handwritten digits: no network, no data, about two minutes."""
    from edge_tl.host import demo as room

    with Progress() as progress:
        record = room.run(out, progress=progress, note=progress.note)
    return finish(
        record,
        f"{_summary(record)}\nreport: {record['report']}",
        as_json=json,
        code=0 if record["passed"] else EXIT_GATE_FAILED,
        then=f"next: edge-tl finetune FOLDER, with a folder of your own images; or open {record['report']}",
    )


def _to_device(record: dict[str, Any]) -> str:
    """What to type after an export: where to copy, what to install there, what to run."""
    from edge_tl.host.bundling.sentence import EXTRAS

    chosen = next((a for a in record["artifacts"] if a["id"] == record["recommended"]), None)
    extra = EXTRAS[chosen["runtime"]] if chosen else ",".join(EXTRAS.values())
    return (
        f"next: copy {record['bundle']} to the device; install edge-tl there with the extra [{extra}] (pip install "
        f'"./edge_tl-{__version__}-py3-none-any.whl[{extra}]", see the README), then: '
        f"edge-tl verify {Path(record['bundle']).name}"
    )


def _accuracy(figures: dict[str, Any]) -> str:
    text = f"accuracy {figures['accuracy']:.4f}"
    if interval := figures.get("accuracy_ci"):  # runs of older versions have none
        text += f", 95 % interval [{interval[0]:.4f}, {interval[1]:.4f}]"
    text += f", macro F1 {figures['macro_f1']:.4f} on the {figures['n']} images of {figures['split']}"
    if figures.get("chosen_on_same_images"):
        text += ", which also chose what was kept: expect less on new images"
    return text


def _budget(max_drop: float) -> str:
    text = f"budget: accuracy may drop by {max_drop:g} percentage points (at 90 %: to {90 - max_drop:g} %)"
    if 0 < max_drop < 0.05:
        text += f"; {max_drop:g} is not a fraction: for {100 * max_drop:g} percentage points give {100 * max_drop:g}"
    return text


def _summary(record: dict[str, Any]) -> str:
    from edge_tl.target import confidence_tables
    from edge_tl.target.report import sentence, timed_on
    from edge_tl.target.tables import TABLE, table

    rows = [[row[column.key] for column in TABLE] for row in table(record)]
    parts = [explained(grid([column.heading for column in TABLE], rows))]
    if any(row.get("cap") for artifact in record["artifacts"] for row in artifact.get("proven_on") or []):
        columns, shown = confidence_tables.PROVEN, confidence_tables.proven(record)
        cells = [[row[column.key] for column in columns] for row in shown]
        parts.append(grid([column.heading for column in columns], cells))
    timed = [line for line in [timed_on(record)] if line]
    return "\n\n".join([*parts, *timed, sentence(record)])
