"""The record of an artifact's heat maps: how they are made, and how far INT8's agree with FP32's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.codec import Bounds, Fault, Record

HeatmapMethod = Literal["cam", "head-per-position", "occlusion"]
"""Class-activation map; the layers of a head that is not one linear layer, at every position; what covering a part of
the image does to the answer."""


@dataclass(frozen=True)
class HeatmapRecord(Record):
    """`size` is that of a map, rows and columns. Of `n` evaluation images: `mean_diff` is the largest difference of a
    logit from the mean of its map, for FP32, where it says how exactly the map splits the answer; `rank_correlation`
    the mean of Spearman's coefficient with the map of `onnx-fp32` for the class that this one answers, with its 95 %
    interval. None where it was not measured: for occlusion, which costs dozens of calls an image, and for fewer than
    two images."""

    method: HeatmapMethod
    size: tuple[Annotated[int, Bounds(1, 4096)], Annotated[int, Bounds(1, 4096)]]
    n: Annotated[int, Bounds(0, 1 << 31)] = 0
    mean_diff: float | None = None
    rank_correlation: Annotated[float, Bounds(-1, 1)] | None = None
    rank_correlation_ci: Interval | None = None

    def check(self) -> None:
        if (self.rank_correlation is None) != (self.rank_correlation_ci is None):
            raise Fault("rank_correlation_ci", "alone", "beside rank_correlation")


@dataclass(frozen=True)
class DrawnHeatmaps(Record):
    """What `predict --explain` says of its pictures: how and where they were made, and the folder that holds them."""

    method: HeatmapMethod
    device: str
    folder: str
