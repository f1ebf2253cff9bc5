"""The answer for one image, and what `predict` prints of many."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.errors import BadImage, BadInput
from edge_tl.device.records.codec import Record
from edge_tl.device.records.heatmap import DrawnHeatmaps


@dataclass(frozen=True)
class Score(Record):
    """A label and its probability, a fraction in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction(Record):
    """The answer for one image: `top`, the best labels first, or `failure`, why there is no answer.

    `image` is its path, None for an image that has none. `remark` says what had to be assumed to read it. `frame`
    counts the frames of a video from 0, `time_s` is in seconds from its beginning. `heatmap` and `annotated` are files
    that were drawn.
    """

    document = "prediction"
    advice = "run edge-tl predict again"
    error = BadInput

    image: str | None
    top: tuple[Score, ...]
    remark: str | None = None
    failure: str | None = None
    frame: int | None = None
    time_s: float | None = None
    heatmap: str | None = None
    annotated: str | None = None

    @property
    def label(self) -> str:
        """The best label. Raises `BadImage` where there is a `failure`."""
        return self._best().label

    @property
    def probability(self) -> float:
        """Of the best label, in [0, 1]. Raises `BadImage` where there is a `failure`."""
        return self._best().probability

    def _best(self) -> Score:
        if self.failure is not None:
            raise BadImage(self.image or "an image without a path", self.failure)
        return self.top[0]


@dataclass(frozen=True)
class FailedImage(Record):
    """An image without an answer, and why."""

    image: str
    reason: str
    frame: int | None = None
    time_s: float | None = None


@dataclass(frozen=True)
class PredictionCounts(Record):
    """How many rows with and without an answer a file holds."""

    results: int
    failed: int


@dataclass(frozen=True)
class PredictResult(Record):
    """What `predict --json` prints. `results` and `failed` are None where `out`, a file, holds them: `n` counts its
    rows. `threads` are those that `tune` picked, None where nothing did."""

    artifact: str
    device: str
    tuned: bool
    threads: int | None
    results: tuple[Prediction, ...] | None = None
    failed: tuple[FailedImage, ...] | None = None
    out: str | None = None
    n: PredictionCounts | None = None
    annotated: str | None = None
    heatmaps: DrawnHeatmaps | None = None
