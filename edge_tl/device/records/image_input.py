"""The record of an artifact that takes raw pixels: what its own preprocessing changes, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.codec import Bounds, Fault, Fraction, Record

InputKind = Literal["tensor", "image"]
"""The model's input: float32 `(n, 3, H, W)`, preprocessed, or uint8 `(1, H, W, 3)`, RGB pixels of any size."""
Side = Annotated[int, Bounds(1, 1 << 16)]
MOST_PIXELS = 89_478_485
"""Of an image that a record has made: Pillow's own limit. Two sides at their bound are 13 GB."""


@dataclass(frozen=True)
class ImageInputRecord(Record):
    """Preprocessing inside the model against outside of it, on the `n` evaluation images: pixels in levels of 255 (the
    largest difference, and the mean), changed answers, the largest difference of a probability. `size` is the median
    height and width of these images as decoded. Milliseconds are of one such image on the host: the whole model
    (`inside_ms`), the same weights after Pillow's resize (`outside_ms`), and what the former costs more, negative where
    it costs less, with its 95 % interval; `not_judged` says why they are none."""

    size: tuple[Side, Side]
    n: Annotated[int, Bounds(1, 1 << 53)]
    flips: Annotated[int, Bounds(0, 1 << 53)]
    levels_max: Annotated[float, Bounds(0, 255)]
    levels_mean: Annotated[float, Bounds(0, 255)]
    probability_diff_max: Fraction
    inside_ms: float | None = None
    outside_ms: float | None = None
    cost_ms: float | None = None
    cost_ci_ms: Interval | None = None
    not_judged: str | None = None

    def check(self) -> None:
        """Raises `Fault` for more changed answers than images, and for a size that no image has."""
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise Fault("size", str(list(self.size)), f"at most {MOST_PIXELS} pixels")
        if self.flips > self.n:
            raise Fault("flips", str(self.flips), f"at most n, {self.n}")
