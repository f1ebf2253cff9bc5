"""The verb predict: labels and probabilities of images. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._console import AllowFallback, Debug, Device, Json, complain, finish, say
from edge_tl.cli._options import BundlePath, MaxPixels
from edge_tl.device.errors import EXIT_BAD_INPUT
from edge_tl.device.text import printable


def predict(
    bundle: BundlePath,
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or folders with images below them.", metavar="IMAGE")
    ],
    artifact: Annotated[
        str | None, typer.Option(help="Which artifact.", show_default="the recommended one")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels.")] = 3,
    max_pixels: MaxPixels = None,
    device: Device = "CPU",
    allow_fallback: AllowFallback = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Classify images with a bundle."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.images.decode_warnings import warning_lines
    from edge_tl.device.predict import image_files, instead
    from edge_tl.device.runtimes.open import notes, ran

    loaded = read_bundle(bundle).reading(max_pixels)
    files, failed = image_files(images)
    with loaded.open(artifact, device, allow_fallback=allow_fallback) as model:
        predictions = list(model.predict_many(files, top=top))
        chosen, on = model.artifact, model.runtime.device
        elsewhere = notes({chosen.id: ran(model.runtime)} if device.upper() != "CPU" else {})
    answered = [one for one in predictions if one.failure is None]
    failed += [{"image": str(one.image), "reason": one.failure} for one in predictions if one.failure]
    for sentence in warning_lines((printable(str(one.image)), one.remark) for one in answered if one.remark):
        say(f"warning: {sentence}")
    for warning in elsewhere:
        say(f"warning: {warning}")
    if artifact is None and (other := instead(loaded, chosen)):
        say(f"note: {other}")
    for entry in failed:
        complain(f"not a usable image: {printable(entry['image'])}: {printable(entry['reason'])}")
    if not answered:  # as for any bad input: no result
        return EXIT_BAD_INPUT
    lines = [
        f"{printable(str(one.image))}: "
        + ", ".join(f"{printable(score.label)} {100 * score.probability:.1f} %" for score in one.top)
        for one in answered
    ]
    result = {
        "artifact": chosen.id,
        "device": on,
        "results": [one.to_json() for one in answered],
        "failed": failed,
    }
    then = f"with {chosen.id} on {on}; next: edge-tl verify {bundle}"
    code = EXIT_BAD_INPUT if failed else 0
    return finish(result, "\n".join(lines), as_json=json, code=code, then=then)
