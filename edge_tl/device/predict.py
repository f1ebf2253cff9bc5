"""Labels and probabilities for images, and which artifact of a bundle answers; it must not print."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadImage, BadInput, BundleError, MissingExtra, ReadError
from edge_tl.device.images.folders import images_in
from edge_tl.device.metrics import not_numbers, softmax
from edge_tl.device.runtimes import sandbox
from edge_tl.device.runtimes.devices import runnable_artifacts
from edge_tl.device.runtimes.open import Logits, Runtime, open_runtime
from edge_tl.device.text import printable

Picture = Image.Image | NDArray[np.uint8] | str | os.PathLike[str] | bytes
"""An image: a path, encoded bytes, a Pillow image, or uint8 pixels `(H, W, 3)` in RGB or `(H, W)` in grey."""


def open_best(
    bundle: Bundle, artifact: str | None = None, device: str = "CPU", *, allow_fallback: bool = False
) -> tuple[Artifact, Runtime]:
    """The artifact asked for, else the first of `best_first` whose runtime is installed and has `device`; `instead`
    says why it is not the recommended one.

    Raises `FellBack` when another device ran, unless `allow_fallback`, and `BadInput` where all that could run here
    failed its gates at export.
    """
    if artifact:
        chosen = bundle.artifact(artifact)
        sandbox.smoke_test(chosen.path, device, bundle.preprocess.input_size)
        return chosen, open_runtime(chosen.path, device=device, allow_fallback=allow_fallback)
    order = best_first(bundle, bundle.artifacts)
    if not order:
        raise BadInput(
            f"every artifact in {printable(bundle.root)} failed its gates at export. Name one with --artifact to "
            "use it all the same, or export again."
        )
    able_here, skipped = runnable_artifacts(order, device)
    missing: MissingExtra | None = None
    for candidate in able_here:
        try:
            sandbox.smoke_test(candidate.path, device, bundle.preprocess.input_size)
            return candidate, open_runtime(candidate.path, device=device, allow_fallback=allow_fallback)
        except MissingExtra as error:
            missing = error
    reasons = "; ".join(f"{one['artifact']}: {one['reason']}" for one in skipped)
    raise missing or BadInput(f"no artifact in {printable(bundle.root)} can run here: {reasons}.")


def best_first(bundle: Bundle, artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The recommended one, then those that passed, the fastest at export first, then those without a verdict. What
    failed is left out: whoever wants it names it."""

    def place(artifact: Artifact) -> tuple[bool, bool, float]:
        p50 = (artifact.record.get("latency_ms") or {}).get("p50")
        fast = float(p50) if isinstance(p50, int | float) else math.inf
        return (
            artifact.id != bundle.record.get("recommended"),
            artifact.record.get("passed") is not True,
            fast,
        )

    return sorted((a for a in artifacts if a.record.get("passed") is not False), key=place)


def instead(bundle: Bundle, chosen: Artifact) -> str | None:
    """A sentence for a person where `chosen` stands in for the recommended artifact; None where it is that, or where
    nothing is recommended."""
    recommended = bundle.record.get("recommended")
    if recommended is None or chosen.id == recommended:
        return None
    passed = "which passed too" if chosen.record.get("passed") else "which has no verdict"
    return f"{recommended} is recommended and cannot run here; {chosen.id} answers instead, {passed}"


def pictures(paths: Iterable[Path]) -> tuple[list[Path], list[dict[str, str]]]:
    """The image files of `paths`, folders with everything below them, and `{image, reason}` of what folders hold that
    might have been one. Raises `BadInput` for a folder without an image."""
    found: list[Path] = []
    failed: list[dict[str, str]] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        listed = images_in(path)
        failed += [{"image": str(one.path), "reason": one.reason} for one in listed.left_out]
        if not listed.images:
            raise BadInput(
                f"no image below the folder {printable(str(path))}. Give images, or a folder of them."
            )
        found += listed.images
    return found, failed


def predict(
    bundle: Bundle, runtime: Runtime, images: Sequence[Picture], *, top: int = 3
) -> list[dict[str, Any]]:
    """One record an image: `{image, top[]{label, probability}}`, best first; `image` is None for what has no path, and
    `remark` is there where something had to be assumed to read it.

    Raises `BadImage` or `ReadError` that names the image, `BadInput` for an array that is no image or one image alone,
    and `BundleError` for a model whose answers are no numbers or not one for each label.
    """
    if isinstance(images, Image.Image | np.ndarray | str | bytes | os.PathLike):
        raise BadInput(
            f"predict takes a list of images; this is one {type(images).__name__}. Put it into [ ]."
        )
    results = []
    for image in images:
        framed = bundle.preprocess.framed(_readable(image))
        probabilities = softmax(_answered(bundle, runtime(bundle.preprocess.normalize(framed.pixels)[None])))
        best = probabilities.argsort()[::-1][:top]
        results.append(
            {
                "image": str(image) if isinstance(image, str | os.PathLike) else None,
                "top": [{"label": bundle.labels[i], "probability": float(probabilities[i])} for i in best],
                **({"remark": framed.remark} if framed.remark else {}),
            }
        )
    return results


def answer(
    bundle: Bundle, runtime: Runtime, images: Sequence[Path], *, top: int = 3
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """`predict` for files of which some may be no image: those have `{image, reason}` in the second list."""
    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for image in images:
        try:
            results += predict(bundle, runtime, [image], top=top)
        except BadImage as error:  # one of a folder full must not cost the others their answers
            failed.append({"image": str(image), "reason": error.reason})
        except ReadError as error:
            failed.append({"image": str(image), "reason": f"cannot be read now: {error.reason}"})
    return results, failed


def _readable(image: object) -> Image.Image | str | os.PathLike[str] | bytes:
    """What the contract decodes. Raises `BadInput`."""
    if isinstance(image, Image.Image | str | os.PathLike | bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        sized = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype == np.uint8 and sized and image.size:
            return Image.fromarray(np.ascontiguousarray(image))
        raise BadInput(
            f"an array of {image.dtype} and shape {image.shape} is no image. Give uint8 pixels of shape (H, W, 3) in "
            "RGB order, or (H, W) in grey; no batch, no normalized values."
        )
    raise BadInput(
        f"{type(image).__name__} is no image. Give a path, encoded bytes, a Pillow image, or uint8 pixels (H, W, 3)."
    )


def _answered(bundle: Bundle, logits: Logits) -> Logits:
    if logits.shape != (1, len(bundle.labels)):
        raise BundleError(
            f"{bundle.root}: its model answers with {logits.shape} numbers for {len(bundle.labels)} labels. Do not use "
            "it."
        )
    if not_numbers(logits):
        raise BundleError(
            f"{bundle.root}: its model answers with NaN or infinity. Run edge-tl verify {bundle.root}, or export again."
        )
    row: Logits = logits[0]
    return row
