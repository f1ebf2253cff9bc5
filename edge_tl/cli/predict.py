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
    from edge_tl.device import predict as room
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.images.decode_warnings import warning_lines
    from edge_tl.device.runtimes.open import notes, ran

    loaded = read_bundle(bundle).reading(max_pixels)
    files, failed = room.pictures(images)
    chosen, runtime = room.open_best(loaded, artifact, device, allow_fallback=allow_fallback)
    results, bad = room.answer(loaded, runtime, files, top=top)
    failed += bad
    for sentence in warning_lines((printable(r["image"]), r["remark"]) for r in results if "remark" in r):
        say(f"warning: {sentence}")
    for warning in notes({chosen.id: ran(runtime)} if device.upper() != "CPU" else {}):
        say(f"warning: {warning}")
    if artifact is None and (stand_in := room.instead(loaded, chosen)):
        say(f"note: {stand_in}")
    for one in failed:
        complain(f"not a usable image: {printable(one['image'])}: {printable(one['reason'])}")
    if not results:  # as for any bad input: no result
        return EXIT_BAD_INPUT
    lines = [
        f"{printable(r['image'])}: "
        + ", ".join(f"{printable(t['label'])} {100 * t['probability']:.1f} %" for t in r["top"])
        for r in results
    ]
    result = {"artifact": chosen.id, "device": runtime.device, "results": results, "failed": failed}
    then = f"with {chosen.id} on {runtime.device}; next: edge-tl verify {bundle}"
    code = EXIT_BAD_INPUT if failed else 0
    return finish(result, "\n".join(lines), as_json=json, code=code, then=then)
