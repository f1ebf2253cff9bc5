"""The pixels gate: does preprocessing make the same numbers of the golden images here as at export?

Runs no model. Where the gate fails it names the first stage that is at fault.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import features

from edge_tl.device import metrics
from edge_tl.device.bundle import Bundle, contract_is_altered
from edge_tl.device.divergence import Divergence, first_of_pixels
from edge_tl.device.errors import BadImage
from edge_tl.device.records.gate import GateResult
from edge_tl.device.stages import read_stages

PIXEL_LIMIT_LEVELS = 2.0  # JPEG decoders may round a level apart; a wrong resize is off by tens


def pixels_gate(bundle: Bundle) -> GateResult:
    """At most `PIXEL_LIMIT_LEVELS` of 255 between the pixels here and the stored ones, on every golden image."""
    stored = bundle.golden_pixels()
    if contract_is_altered(bundle.record):
        reason = "the preprocessing in bundle.json was altered after export: copy the bundle again, or export again"
        return _failed(bundle, range(len(stored)), None, reason)
    worst, where, failed, left_out = 0.0, "", [], _unknown_here(bundle)
    for place, (path, pixels) in enumerate(zip(bundle.golden_images(), stored, strict=True)):
        if path in left_out:
            continue
        want = bundle.preprocess.levels(pixels)
        try:
            got = bundle.preprocess.levels(bundle.preprocess.apply(path))
        except BadImage as error:
            return _failed(bundle, [place], None, str(error))
        if got.shape != want.shape:
            reason = f"{path.name} becomes {got.shape[1:]} pixels here, {want.shape[1:]} at export: the size differs"
            return _failed(bundle, [place], None, reason)
        difference = metrics.max_abs_diff(got, want)
        if difference > PIXEL_LIMIT_LEVELS:
            failed.append(place)
        if difference > worst:
            worst, where = difference, path.name
    if failed:
        reason = (
            f"{where} decodes or resizes differently here: an image library or the contract is not the host's"
        )
        return _failed(bundle, failed, worst, reason)
    reason = f"the same pixels as at export, on {len(stored) - len(left_out)} images"
    if left_out:
        reason += (
            f"; {len(left_out)} WebP images that export made were not checked: Pillow has no decoder here"
        )
    return GateResult("pixels", None, round(worst, 3), PIXEL_LIMIT_LEVELS, "levels of 255", True, reason)


def diverged(gate: GateResult, apart: Divergence | None) -> GateResult:
    """A failed gate with what is at fault, where that is known, and the limit that would have let it pass."""
    if apart is None:
        return replace(gate, would_pass=gate.measured)
    return replace(
        gate,
        reason=f"{gate.reason}. {apart.sentence}",
        stage=apart.stage,
        image=apart.image,
        difference=apart.difference,
        would_pass=gate.measured,
    )


def _failed(bundle: Bundle, places: Sequence[int], worst: float | None, reason: str) -> GateResult:
    # Rounded up: the limit that is said would have passed.
    measured = None if worst is None else math.ceil(worst * 1000) / 1000
    gate = GateResult("pixels", None, measured, PIXEL_LIMIT_LEVELS, "levels of 255", False, reason)
    return diverged(gate, first_of_pixels(bundle, places, PIXEL_LIMIT_LEVELS))


def _unknown_here(bundle: Bundle) -> set[Path]:
    """Goldens that the user has no images like: WebP that export made, where Pillow was built without."""
    stored = None if features.check("webp") else read_stages(bundle.root, bundle.record.golden)
    if stored is None:
        return set()
    return {
        bundle.root / each.image
        for each in stored.record.images
        if each.made and each.image.endswith(".webp")
    }
