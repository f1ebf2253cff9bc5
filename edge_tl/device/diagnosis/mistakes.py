"""The classic mistakes, each as one stage of the way from an image to the model's input that goes another way.

Names and stages alone: `inputs` makes the inputs, `advice` says what to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from edge_tl.device.preprocess import Preprocess

Stage = Literal["decode", "frame", "filter", "color", "scale", "norm", "layout"]

NAMES = (
    "bgr", "no_scale", "double_scale", "no_mean_std", "wrong_unit", "double_normalize", "opencv_bilinear", "nearest",
    "bicubic", "squash", "crop_first", "exif_ignored", "nhwc", "no_softmax", "double_softmax", "label_order",
    "other_artifact", "other_model",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A stage that goes another way than the contract's; `mistake` is one of `NAMES`, `variant` how exactly."""

    mistake: str
    stage: Stage
    variant: str


Pipeline = tuple[Step, ...]
"""Everything that goes another way, at most one step a stage; empty: the contract."""

STEPS = (
    Step("bgr", "color", "bgr"),
    Step("no_scale", "scale", "levels"),
    Step("double_scale", "scale", "twice"),
    Step("no_mean_std", "norm", "none"),
    Step("wrong_unit", "norm", "mean in levels"),
    Step("double_normalize", "norm", "twice"),
    Step("opencv_bilinear", "filter", "opencv linear"),
    Step("nearest", "filter", "opencv nearest"),
    Step("bicubic", "filter", "pillow bicubic"),
    Step("squash", "frame", "squash"),
    Step("crop_first", "frame", "largest"),
    Step("exif_ignored", "decode", "as stored"),
    Step("nhwc", "layout", "nhwc as nchw"),
)
# The same mistakes as others make them. Not combined with a second mistake.
VARIANTS = (
    Step("bgr", "color", "planes"),
    Step("no_mean_std", "norm", "no std"),
    Step("no_mean_std", "norm", "half"),
    Step("wrong_unit", "norm", "both in levels"),
    Step("nearest", "filter", "centre nearest"),
    Step("bicubic", "filter", "opencv cubic"),
    Step("crop_first", "frame", "cut"),
    Step("nhwc", "layout", "nchw as nhwc"),
    Step("nhwc", "layout", "transposed"),
)


def mistake_name(parts: tuple[str, ...]) -> str:
    """Several mistakes joined by "+", in the order of `NAMES`."""
    return "+".join(sorted(set(parts), key=NAMES.index))


def single_mistakes(contract: Preprocess) -> list[Pipeline]:
    """Pipelines of one step that `contract` is not already."""
    return [(step,) for step in (*STEPS, *VARIANTS) if not _is_contract(step, contract)]


def paired_mistakes(contract: Preprocess) -> list[Pipeline]:
    """Pipelines of two steps of different stages."""
    steps = [step for step in STEPS if not _is_contract(step, contract)]
    return [pair for pair in combinations(steps, 2) if pair[0].stage != pair[1].stage]


def variant_of(pipeline: Pipeline, stage: Stage) -> str | None:
    """What the pipeline does in place of the contract at `stage`; None where it keeps to it."""
    return next((step.variant for step in pipeline if step.stage == stage), None)


def _is_contract(step: Step, contract: Preprocess) -> bool:
    if step.stage == "filter":
        # OpenCV's bicubic is another than Pillow's, and remains.
        same = {"pillow bicubic": "bicubic", "opencv nearest": "nearest", "centre nearest": "nearest"}
        return contract.resize == "none" or same.get(step.variant) == contract.interpolation
    return step.mistake == "squash" and contract.resize == "exact"
