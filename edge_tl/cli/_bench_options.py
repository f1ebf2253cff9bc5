"""The options of the verb bench, as typer shows and parses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._latest import each, latest_bundle
from edge_tl.device.errors import BadInput

EFFORT = "How long"
RATE = "At the application's rate"
PARTS = "In parts"
SAVED = "Saved results"

BundleOrResults = Annotated[
    list[Path],
    typer.Argument(
        help="A bundle that `edge-tl export` wrote, or latest; with --compare, results.",
        metavar="BUNDLE",
        callback=each(latest_bundle),
    ),
]
Aa = Annotated[bool, typer.Option("--aa", help="An artifact against itself: this machine's noise.")]
Seed = Annotated[int, typer.Option(help="Draws the order of the blocks.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="100 calls each, not 700: rarely a p99.", rich_help_panel=EFFORT)
]
Rounds = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default="7, with --quick 5",
        help="Fresh processes per artifact.",
        rich_help_panel=EFFORT,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default="10, with --quick 5",
        help="Blocks per process, in turns.",
        rich_help_panel=EFFORT,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(min=1, show_default="10, with --quick 4", help="Calls per block.", rich_help_panel=EFFORT),
]
Fps = Annotated[
    float | None,
    typer.Option(
        show_default="none", help="Images arrive at this rate; latency from arrival.", rich_help_panel=RATE
    ),
]
Seconds = Annotated[float | None, typer.Option(show_default="30", help="For how long.", rich_help_panel=RATE)]
Minutes = Annotated[
    float | None,
    typer.Option(
        show_default="none",
        help="One process for so long: first minute against last, with sensors.",
        rich_help_panel=RATE,
    ),
]
Load = Annotated[int, typer.Option(min=0, help="Also beside so many busy processes.", rich_help_panel=RATE)]
Deadline = Annotated[
    float | None,
    typer.Option(
        show_default="the time between arrivals", help="Milliseconds after arrival.", rich_help_panel=RATE
    ),
]
Parts = Annotated[
    bool, typer.Option("--parts", help="Each step, cold start, memory, size.", rich_help_panel=PARTS)
]
Batch = Annotated[
    str | None, typer.Option(show_default="1", help="Images a call, e.g. 1,4,16.", rich_help_panel=PARTS)
]
Threads = Annotated[
    str | None,
    typer.Option(show_default="the allowed cores", help="Threads, e.g. 1,2.", rich_help_panel=PARTS),
]
Throughput = Annotated[
    bool,
    typer.Option("--throughput", help="Images a second with the runtime's streams.", rich_help_panel=PARTS),
]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Save the result as this JSON file.", rich_help_panel=SAVED),
]
Save = Annotated[
    bool,
    typer.Option("--save", help="Save it in benchmarks/results/MACHINE/ below here.", rich_help_panel=SAVED),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Instead: saved results side by side; the first is the base.",
        rich_help_panel=SAVED,
    ),
]
Plot = Annotated[
    Path | None, typer.Option(help="With --compare: draw it, .svg or .png.", rich_help_panel=SAVED)
]
FailIfSlower = Annotated[
    str | None,
    typer.Option(
        help="With --compare: exit 1 when a slow-down beyond e.g. 5% is proven.", rich_help_panel=SAVED
    ),
]
Run = Annotated[
    Path | None,
    typer.Option("--run", help="The run it was exported from: PyTorch is timed with its model."),
]

_WITH_COMPARE = {"bundle", "compare", "plot", "fail_if_slower", "out", "json", "debug"}


def check_compare(ctx: typer.Context) -> None:
    """Refuse options beside which --compare would ignore them, and those that need it. Raises `BadInput`."""
    typed = {
        str(option.name): option.opts[0]
        for option in ctx.command.params
        if (source := ctx.get_parameter_source(str(option.name))) and source.name == "COMMANDLINE"
    }
    if ctx.params["compare"]:
        for name in typed:
            if name not in _WITH_COMPARE:
                raise BadInput(
                    f"{typed[name]} does not go with --compare, which reads saved results. Leave it out."
                )
        return
    for name in ("plot", "fail_if_slower"):
        if name in typed:
            raise BadInput(
                f"{typed[name]} needs --compare and saved results: edge-tl bench --compare A.json B.json."
            )
    if len(ctx.params["bundle"]) != 1:
        raise BadInput(
            f"bench takes one bundle, not {len(ctx.params['bundle'])}. For saved results add --compare."
        )


def numbers(option: str, text: str | None) -> tuple[int, ...]:
    """(1, 4, 16) for "1,4,16". Raises `BadInput`."""
    from edge_tl.device.bench.options import check_numbers

    try:
        found = [int(word) for word in (text or "").split(",") if text]
    except ValueError:
        found = [0]
    check_numbers(option, found, text)
    return tuple(dict.fromkeys(found))
