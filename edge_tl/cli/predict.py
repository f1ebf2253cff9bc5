"""The verb predict: labels and probabilities of images. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._console import complain, finish, say
from edge_tl.cli._options import AllowFallback, BundlePath, Debug, Json, MaxPixels
from edge_tl.device.errors import EXIT_BAD_INPUT
from edge_tl.device.format import percentage
from edge_tl.device.text import printable

if TYPE_CHECKING:
    from edge_tl.device.model import Prediction

Images = Annotated[
    list[Path], typer.Argument(help="Image files, or folders with images below them.", metavar="IMAGE")
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
Explain = Annotated[
    bool, typer.Option("--explain", help="Draw for each image what its answer comes from: a heat map.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder of the heat maps.", show_default="heatmaps"),
]


def predict(
    bundle: BundlePath,
    images: Images,
    artifact: ArtifactId = None,
    top: Top = 3,
    explain: Explain = False,
    out: Out = None,
    max_pixels: MaxPixels = None,
    device: DeviceName = None,
    allow_fallback: AllowFallback = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Classify images with a bundle."""
    from edge_tl.cli._heatmaps import heatmap_files, write_heatmaps
    from edge_tl.device.artifact_choice import image_files, stand_in_note
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.explain.heatmaps import Explainer
    from edge_tl.device.images.decode_warnings import warning_lines
    from edge_tl.device.records.heatmap import DrawnHeatmaps
    from edge_tl.device.runtimes.open import notes, ran

    loaded = read_bundle(bundle).reading(max_pixels)
    files, failed = image_files(images)
    drawn = heatmap_files(files, out, explain=explain)
    with loaded.open(artifact, device, allow_fallback=allow_fallback) as model:
        explainer = Explainer(model) if drawn else None
        predictions = list(model.predict_many(files, top=top))
        if explainer and drawn:
            write_heatmaps(explainer, predictions, drawn)
        chosen, on = model.artifact, model.runtime.device
        asked = device or (model.tuned.device if model.tuned else None) or "CPU"
        warnings = notes({} if asked.upper() == "CPU" else {chosen.id: ran(model.runtime)})
    answered = [one for one in predictions if one.failure is None]
    failed += [{"image": str(one.image), "reason": one.failure} for one in predictions if one.failure]
    remarks = ((printable(str(one.image)), one.remark) for one in answered if one.remark)
    for warning in [*warning_lines(remarks), *warnings]:
        say(f"warning: {warning}")
    if model.note:
        say(model.note if model.tuned else f"note: {model.note}")
    if artifact is None and not model.tuned and (other := stand_in_note(loaded, chosen, asked)):
        say(f"note: {other}")
    for entry in failed:
        complain(f"not a usable image: {printable(entry['image'])}: {printable(entry['reason'])}")
    if not answered:  # as for any bad input: no result
        return EXIT_BAD_INPUT
    results = [one.to_json() for one in answered]
    threads = model.tuned.threads if model.tuned else None
    result = {"artifact": chosen.id, "device": on, "tuned": model.tuned is not None, "threads": threads}
    result |= {"results": results, "failed": failed}
    then = f"with {chosen.id} on {on}; next: edge-tl verify {bundle}"
    if explainer and drawn:
        for one in results:
            one["heatmap"] = str(drawn.of[one["image"]])
        made = DrawnHeatmaps(explainer.method, explainer.device, str(drawn.folder))
        result["heatmaps"] = made.to_json()
        say(f"{len(results)} heat map{'s' * (len(results) > 1)} in {drawn.folder} ({explainer.said})")
    code = EXIT_BAD_INPUT if failed else 0
    return finish(result, "\n".join(map(_line, answered)), as_json=json, code=code, then=then)


def _line(one: Prediction) -> str:
    labels = ", ".join(f"{printable(score.label)} {percentage(score.probability, 1)}" for score in one.top)
    return f"{printable(str(one.image))}: {labels}"
