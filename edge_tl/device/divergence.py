"""Where this machine's answers on the golden images first part from the export's: the stage, the image, by how much.

Decides no gate: it is asked where one failed, which stage is at fault. A stage whose SHA-256 differs has not diverged
yet, since decoders of lossy files round a level or two apart; the limits say what is too much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import BadImage
from edge_tl.device.records.gate import STAGES
from edge_tl.device.records.stages import GoldenStages
from edge_tl.device.runtimes.open import Logits
from edge_tl.device.stages import OF_LEVELS, crossings, read_stages, sampled, stage_record, stages_of

_LOSSY = (".jpg", ".webp", ".jp2", ".avif")


@dataclass(frozen=True)
class Divergence:
    """The first stage that diverges, the name of the image where it does most, and by how much: levels of 255, or of a
    logit; None where no number says it, `detail` then does. `images` is on how many."""

    stage: str
    image: str
    difference: float | None
    detail: str = ""
    images: int = 1
    certain: bool = True
    """Whether the stage is beyond its limit; else its hash alone differs, as of any lossy file by another decoder."""

    @property
    def sentence(self) -> str:
        """For people: all of that, and where to look."""
        unit = "of a logit" if self.stage in ("logits", "label") else "levels of 255"
        by = self.detail or (f"by {self.difference:.3g} {unit}" if self.difference is not None else "")
        more = f" (and {self.images - 1} more)" if self.images > 1 else ""
        return f"{self.stage} is the first stage that diverges: {self.image}{more} {by}; {STAGES[self.stage]}"


def first_of_pixels(bundle: Bundle, failed: Sequence[int], limit: float) -> Divergence | None:
    """The first stage from decoder to normalization that differs by more than `limit` levels on the golden images at
    the places `failed`, which is where the pixels gate fails. None of a bundle that holds no stages."""
    stored = read_stages(bundle.root, bundle.record.golden)
    if stored is None:
        return None
    pixels, found = bundle.golden_pixels(), []
    for place in failed:
        path = bundle.root / stored.record.images[place].image
        samples = {stage: stored.samples[stage][place] for stage in OF_LEVELS}
        found.append(_of_image(bundle, path, stored.record.images[place], (samples, pixels[place]), limit))
    known = [each for each in found if each]
    return _first([each for each in known if each.certain] or known)


def first_of_logits(names: Sequence[str], logits: Logits, stored: Logits) -> Divergence:
    """Of this machine's logits and the stored ones, both `(n, classes)`, on the images `names`: the image where they
    differ most, and on how many they differ at all."""
    if logits.shape != stored.shape:
        said = f"gives {logits.shape[-1]} logits, {stored.shape[-1]} at export"
        return Divergence("logits", names[0], None, said, len(names))
    apart = np.abs(logits.astype(np.float64) - stored).max(axis=1)
    if not np.isfinite(apart).all():
        bad = np.flatnonzero(~np.isfinite(apart))
        return Divergence("logits", names[bad[0]], None, "gives NaN or infinite logits", len(bad))
    worst = int(apart.argmax())
    return Divergence("logits", names[worst], float(apart[worst]), images=int(np.sum(apart > 0)))


def first_of_labels(names: Sequence[str], logits: Logits, reference: Logits) -> Divergence:
    """Of logits `(n, classes)` whose answers are not the reference's: the image where the reference is most certain of
    another label, by how much its logit is above that of the answer."""
    answers, expected = metrics.top1(logits), metrics.top1(reference)
    rows = np.arange(len(names))
    missed = np.where(answers != expected, reference[rows, expected] - reference[rows, answers], -math.inf)
    worst = int(missed.argmax())
    return Divergence(
        "label", names[worst], max(0.0, float(missed[worst])), images=int(np.sum(answers != expected))
    )


def _of_image(
    bundle: Bundle,
    path: Path,
    record: GoldenStages,
    stored: tuple[Mapping[str, NDArray[np.uint8]], NDArray[np.float32]],
    limit: float,
) -> Divergence | None:
    """`stored` are the samples by stage, and the pixels `(3, H, W)`. None where every stage is the same."""
    try:
        got = stages_of(bundle.preprocess, path)
    except BadImage as error:
        return Divergence("decode", path.name, None, f"cannot be decoded: {error.reason}")
    samples, pixels = stored
    same = {stage: stage_record(got[stage]) == record.stage(stage) for stage in got}
    # What a lossy decoder rounds apart has tens of levels at single pixels, and hardly any on average.
    average = path.suffix in _LOSSY and not same["decode"] and got["decode"].shape == record.decode.shape
    apart: dict[str, float] = {}
    for stage in OF_LEVELS:
        shape, before = got[stage].shape, record.stage(stage).shape
        if shape != before:
            said = f"becomes {shape[1]} x {shape[0]} pixels, {before[1]} x {before[0]} at export"
            return Divergence(stage, path.name, None, said)
        own = sampled(got[stage])
        found = np.abs(own.astype(np.float64) - samples[stage][: own.shape[0], : own.shape[1]])
        apart[stage] = 0.0 if same[stage] else float(found.mean() if average else found.max())
        if apart[stage] > limit:
            return Divergence(stage, path.name, apart[stage])
    apart["normalize"] = _normalized_apart(bundle, samples["crop"], pixels)
    if apart["normalize"] > limit:
        return Divergence("normalize", path.name, apart["normalize"])
    first = next((stage for stage in got if not same[stage]), None)
    if first is None:
        return None
    return Divergence(first, path.name, _whole_apart(bundle, got, pixels), certain=False)


def _normalized_apart(bundle: Bundle, sample: NDArray[np.uint8], pixels: NDArray[np.float32]) -> float:
    """How far the normalization here takes the stored crop from its stored numbers, in levels, at the sampled pixels;
    whatever the stages before did."""
    rows, columns = crossings(pixels.shape[1]), crossings(pixels.shape[2])
    stored = pixels[:, rows[:, None], columns[None, :]]
    own = bundle.preprocess.normalize(sample[: len(rows), : len(columns)])
    return metrics.max_abs_diff(bundle.preprocess.levels(own), bundle.preprocess.levels(stored))


def _whole_apart(bundle: Bundle, got: Mapping[str, NDArray[Any]], pixels: NDArray[np.float32]) -> float:
    return metrics.max_abs_diff(bundle.preprocess.levels(got["normalize"]), bundle.preprocess.levels(pixels))


def _first(found: Sequence[Divergence]) -> Divergence | None:
    """The earliest stage, there the largest difference, with the number of images that diverge in it. An image of which
    no number says by how much is named only where all are so."""
    if not found:
        return None
    order = list(STAGES)
    stage = min((each.stage for each in found), key=order.index)
    there = [each for each in found if each.stage == stage]
    worst = max(there, key=lambda each: -1.0 if each.difference is None else each.difference)
    return Divergence(stage, worst.image, worst.difference, worst.detail, len(there))
