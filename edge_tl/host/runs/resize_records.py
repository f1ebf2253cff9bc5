"""What a run records of its resize policy: what the crop takes away, and what other policies were worth. Measures
nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.codec import Fraction
from edge_tl.host.recipe.schema import PolicyName
from edge_tl.host.runs.run_part import RunPart, Whole


@dataclass(frozen=True)
class CroppedImage(RunPart):
    """An image and the share of its area that the model does not see."""

    path: str
    lost: Fraction


@dataclass(frozen=True)
class CropLossRecord(RunPart):
    """The share of an image's area that the centre crop takes away, on `n` images: the median, and the largest share
    of each of the `worst`, the worst first."""

    n: Whole
    median: Fraction
    worst: tuple[CroppedImage, ...]


@dataclass(frozen=True)
class ImageSizes(RunPart):
    """Of `n` upright images the least, the median and the greatest width and height in pixels, and how many have a side
    shorter than the model's input, so that they are enlarged."""

    n: Whole
    width: tuple[Whole, Whole, Whole]
    height: tuple[Whole, Whole, Whole]
    enlarged: Whole


@dataclass(frozen=True)
class TriedPolicy(RunPart):
    """A resize policy with a head solved on frozen features of its own. Accuracy with its 95 % interval on the
    validation images, which also chose the head's penalty; `gain_pp` how much better than the run's own policy on the
    same images, percentage points, with its 95 % interval. `work` is how often an image goes
    through the network, `seconds` what the features and the head took: little where the features were kept."""

    policy: PolicyName
    accuracy: Fraction
    accuracy_ci: Interval
    gain_pp: float | None
    """None of the run's own policy."""
    gain_ci_pp: Interval | None
    work: Whole
    seconds: float


@dataclass(frozen=True)
class ResizeComparison(RunPart):
    """Resize policies on the same `n` validation images, the run's own first."""

    n: Whole
    policies: tuple[TriedPolicy, ...]
