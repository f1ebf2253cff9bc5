"""The verb predict: labels and probabilities of images and videos. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from edge_tl.cli._console import finish, say, tell_spent
from edge_tl.cli._options import AllowFallback, BundlePath, Debug, Json, MaxPixels
from edge_tl.device.errors import EXIT_BAD_INPUT

_VIDEO, _FILES = "A video or a camera", "Where the answers go"

Images = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Image files, folders with images below them, patterns as 'photos/**/*.jpg', or - for one image on stdin.",
        metavar="IMAGE",
    ),
]
List = Annotated[
    Path | None,
    typer.Option("--list", help="A file with one path a line; - is stdin.", show_default="none"),
]
ArtifactId = Annotated[
    str | None,
    typer.Option(help="Which artifact.", show_default="what tune picked, else the recommended one"),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device", help="What runs it; see `edge-tl devices`.", show_default="what tune picked, else CPU"
    ),
]
Top = Annotated[int, typer.Option(min=1, help="How many labels.")]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|N",
        help="A video file, or a camera by its number: 0 is the first.",
        rich_help_panel=_VIDEO,
    ),
]
Every = Annotated[
    int | None, typer.Option(min=1, help="Only every so many-th frame.", rich_help_panel=_VIDEO)
]
Fps = Annotated[
    float | None, typer.Option(help="Only so many frames a second of the video.", rich_help_panel=_VIDEO)
]
Frames = Annotated[int | None, typer.Option(min=1, help="End after so many frames.", rich_help_panel=_VIDEO)]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Write a row for each image to this .csv or .jsonl file.", rich_help_panel=_FILES
    ),
]
Annotated_ = Annotated[
    Path | None,
    typer.Option(
        "--annotated", help="Write a copy of each image, with its answer below it, to this folder.",
        rich_help_panel=_FILES,
    ),
]  # fmt: skip
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file of --out.", rich_help_panel=_FILES)
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Draw for each image what its answer comes from: a heat map.",
        rich_help_panel=_FILES,
    ),
]
Heatmaps = Annotated[
    Path | None,
    typer.Option(
        "--heatmaps", help="Folder of the heat maps.", show_default="heatmaps", rich_help_panel=_FILES
    ),
]


def predict(
    bundle: BundlePath,
    images: Images = None,
    listed: List = None,
    artifact: ArtifactId = None,
    top: Top = 3,
    source: Source = None,
    every: Every = None,
    fps: Fps = None,
    frames: Frames = None,
    out: Out = None,
    annotated: Annotated_ = None,
    overwrite: Overwrite = False,
    explain: Explain = False,
    heatmaps: Heatmaps = None,
    max_pixels: MaxPixels = None,
    device: DeviceName = None,
    allow_fallback: AllowFallback = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Classify images or a video with a bundle."""
    from edge_tl.cli._heatmaps import heatmap_files
    from edge_tl.cli._predict_input import InputOptions, check_endless
    from edge_tl.cli._predict_output import OutputOptions
    from edge_tl.cli._predict_run import answered, result_of, tell_notes
    from edge_tl.device.bundle import read_bundle

    asked = InputOptions(images or [], listed, source, every, fps, frames)
    where = OutputOptions(out, annotated, top, json, overwrite, video=source is not None)
    loaded = read_bundle(bundle).reading(max_pixels)
    found = asked.find()
    check_endless(asked, found, explain=explain, kept=json and out is None)
    drawn = heatmap_files(found, heatmaps, explain=explain)
    with loaded.open(artifact, device, allow_fallback=allow_fallback) as model:
        output, made = answered(model, found, where, drawn)
        result = result_of(model, output, made)
        tell_notes(model, output, named=artifact is not None, device=device)
    code = EXIT_BAD_INPUT if output.refused else 0
    if not output.answered and out is None:  # as for any bad input: no result
        return code
    then = f"with {result.artifact} on {result.device}; next: edge-tl verify {quote(str(bundle))}"
    if json:
        return finish(result.to_json(), "", as_json=True, code=code, then=then)
    tell_spent()
    say(then)
    return code
