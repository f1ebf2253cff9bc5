"""What the timm library says of a model: where its head is, and the preprocessing of its weights. Builds no model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from edge_tl.device.errors import BadInput, MissingExtra

TIMM = "timm:"
"""What the name of a model of timm's begins with."""


@dataclass(frozen=True)
class TimmConfig:
    """What is used here of timm's `PretrainedCfg`, under timm's names.

    `classifier` is the path of the head, or the paths where there are several; `input_size` is channels, height, width;
    `crop_pct` is the side of the crop over that of the resized image.
    """

    architecture: str
    tag: str
    classifier: str | tuple[str, ...] | None
    input_size: tuple[int, int, int]
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def timm_config(name: str) -> TimmConfig:
    """timm's configuration of `timm:NAME` or `timm:NAME.TAG`. Raises `MissingExtra`, and `BadInput` for
    an unknown name, with the nearest known ones."""
    try:
        import timm
    except ImportError:
        raise MissingExtra("timm", "timm") from None
    wanted = name.removeprefix(TIMM)
    try:
        config = timm.get_pretrained_cfg(wanted) if timm.is_model(wanted) else None
    except RuntimeError:  # a known architecture, an unknown tag
        config = None
    if config is None:
        known = timm.list_pretrained() if timm.is_model(wanted) else timm.list_models()
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3)
        advice = f"Nearest: {', '.join(TIMM + n for n in near)}." if near else "See timm.list_models()."
        raise BadInput(f"unknown model {name!r}. {advice}")
    return TimmConfig(
        architecture=config.architecture,
        tag=config.tag,
        classifier=config.classifier,
        input_size=tuple(config.input_size),
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
        interpolation=config.interpolation,
        mean=tuple(config.mean),
        std=tuple(config.std),
    )
