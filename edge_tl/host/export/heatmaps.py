"""Which heat maps the artifacts have, how exactly they split an answer, and how far INT8's agree with FP32's.

Nothing is added to a file for them, see `edge_tl.device.explain`: an artifact is as fast with them as without.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.explain.occlusion import CELLS
from edge_tl.device.explain.positions import open_positions
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.heatmap import HeatmapMethod, HeatmapRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.export import image_sets
from edge_tl.host.export.job import ExportJob
from edge_tl.host.export.notable import Maps, with_maps
from edge_tl.host.images.dataset import Sample
from edge_tl.host.isolated import ProcessDied

_IMAGES = 32
_EXACT = 1e-3
"""Of the largest logit: by how much it may differ from the mean of its class-activation map in float32."""
_RESAMPLED = 2000


class PositionMaps(NamedTuple):
    """Of several images: what the head answers at every position `(n, h, w, classes)`, and the logits
    `(n, classes)`."""

    each: Logits
    logits: Logits


def position_maps(path: Path, inputs: NDArray[np.float32]) -> PositionMaps | None:
    """Of the model file at `path` on `inputs` `(n, 3, H, W)`; None where it has no such maps, or where they cannot be
    computed, as after a head that looks at several crops."""
    positions = open_positions(path)
    if positions is None:
        return None
    try:
        found = [positions(inputs[i : i + 1]) for i in range(len(inputs))]
    except Exception:  # runtimes raise anything where the head takes no single position
        return None
    return PositionMaps(np.stack([each for each, _ in found]), np.stack([logits for _, logits in found]))


def with_heatmaps(job: ExportJob, record: BundleRecord, samples: list[Sample]) -> BundleRecord:
    """The record, its artifacts with those of heat maps, measured on some of the evaluation images `samples`. An
    artifact whose maps cannot be had is a fault of the job, and has none, nor has one that takes raw pixels. The maps
    of `job.notable` are made on the way."""
    some = _once(image_sets.in_proportion(samples, job.recipe.seed))[:_IMAGES]
    images = _once([*some, *(sample for each in job.notable.values() for sample in each.samples)])
    rows = {sample.digest: row for row, sample in enumerate(images)}
    inputs = np.concatenate(list(job.inputs.batches(images)))
    maps: dict[str, Maps] = {}
    fp32: str | None = None
    whole: PositionMaps | None = None
    method: HeatmapMethod = "occlusion"
    artifacts: list[ArtifactRecord] = []
    for artifact in sorted(record.artifacts, key=lambda each: each.precision != "fp32"):
        if artifact.id.endswith("-image"):  # of raw pixels, of any size
            artifacts.append(artifact)
            continue
        notable = job.notable.get(artifact.id)
        mine = images if whole is None else _once([*some, *(notable.samples if notable else ())])
        asked = inputs[[rows[sample.digest] for sample in mine]]
        try:
            # What follows the mean of five crops mixes them: no position has an answer of its own there.
            several = job.contract.five_crop is not None
            found = None if several else job.isolated.call(position_maps, job.staging / artifact.main, asked)
        except (ProcessDied, EdgeTLError, ValueError) as error:
            job.failed(f"heat maps of {artifact.id}", error)
            artifacts.append(artifact)
            continue
        if found is not None:
            maps[artifact.id] = dict(zip((sample.digest for sample in mine), found.each, strict=True))
            found = PositionMaps(found.each[: len(some)], found.logits[: len(some)])
        if whole is None and found is not None and artifact.precision == "fp32":
            whole, fp32 = found, artifact.id
            exact = _mean_diff(found) <= _EXACT * max(1.0, float(np.abs(found.logits).max()))
            method = "cam" if exact else "head-per-position"
        heatmap = HeatmapRecord("occlusion", (CELLS, CELLS))
        if found is not None and whole is not None:
            heatmap = _measured(method, whole, found, fp32=artifact.precision == "fp32")
        artifacts.append(replace(artifact, heatmap=heatmap))
    for name, answers in job.notable.items():
        job.notable[name] = with_maps(answers, maps.get(name, {}), fp32, maps.get(fp32 or "", {}))
    order = [artifact.id for artifact in record.artifacts]
    return replace(record, artifacts=tuple(sorted(artifacts, key=lambda each: order.index(each.id))))


def _once(samples: Iterable[Sample]) -> list[Sample]:
    """Of images with the same content, the first."""
    found: dict[str, Sample] = {}
    for sample in samples:
        found.setdefault(sample.digest, sample)
    return list(found.values())


def _measured(
    method: HeatmapMethod, whole: PositionMaps, found: PositionMaps, *, fp32: bool
) -> HeatmapRecord:
    high, wide = found.each.shape[1:3]
    by_image = rank_correlations(whole, found)
    mean, interval = _mean_and_interval(by_image) if found is not whole else (None, None)
    return HeatmapRecord(
        method=method,
        size=(high, wide),
        n=len(by_image),
        mean_diff=_mean_diff(found) if fp32 else None,
        rank_correlation=mean,
        rank_correlation_ci=interval,
    )


def _mean_diff(maps: PositionMaps) -> float:
    return float(np.abs(maps.each.mean((1, 2), dtype=np.float64) - maps.logits).max())


def rank_correlations(whole: PositionMaps, found: PositionMaps) -> NDArray[np.float64]:
    """Spearman's coefficient of every image between two models' maps of the class that the first one answers; an image
    with a map of one value only has none, and is left out."""
    from scipy.stats import spearmanr

    best = whole.logits.argmax(1)
    pairs = [
        (a[..., label].ravel(), b[..., label].ravel())
        for a, b, label in zip(whole.each, found.each, best, strict=True)
    ]
    return np.array([spearmanr(a, b).statistic for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0])


def _mean_and_interval(values: NDArray[np.float64]) -> tuple[float | None, Interval | None]:
    """The mean and its 95 % interval by a bootstrap of the images (Efron and Tibshirani, 1993); none of fewer than
    two."""
    if len(values) < 2:
        return None, None
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLED, len(values)))
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return round(float(values.mean()), 4), (round(float(low), 4), round(float(high), 4))
