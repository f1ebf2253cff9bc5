"""What happens to training images between epochs, through torchvision.transforms.v2. Reads no file.

Geometry and colour act on one uint8 image `(3, h, w)`; MixUp and CutMix on a normalized batch. Everything random
comes from PyTorch's global generator, which the caller seeds per image: the same image of the same epoch looks the
same whichever worker makes it, which is what makes a resumed run the run it would have been.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.recipe.schema import Augment
from edge_tl.host.torchvision_ import v2


@dataclass(frozen=True)
class AugmentSettings:
    """Every setting of `schema.Augment`, by its names and with its units; the defaults change nothing."""

    crop: float = 1.0
    flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


PRESETS = {
    "none": AugmentSettings(),
    "light": AugmentSettings(crop=0.35, flip=0.5),
    "medium": AugmentSettings(
        crop=0.25, flip=0.5, rotation=10.0, brightness=0.2, contrast=0.2, saturation=0.2
    ),
    "strong": AugmentSettings(
        crop=0.15, flip=0.5, policy="trivialaugment", erasing=0.1, mixup=0.2, cutmix=1.0
    ),
}


def augment_settings(augment: Augment) -> AugmentSettings:
    """The preset's settings, where the recipe does not say otherwise."""
    asked = augment.model_dump(exclude={"preset"}, exclude_none=True)
    return replace(PRESETS[augment.preset], **asked)


def crops_at_random(augment: Augment) -> bool:
    """Whether a part of the image is cropped at random; otherwise it is framed as the contract does it."""
    return augment_settings(augment).crop < 1


def contract_at_size(contract: Preprocess, size: int) -> Preprocess:
    """The contract of a square input of `size` pixels, with the same margin around the crop."""
    height, width = contract.resize_size
    down, across = (size / side for side in contract.input_size)
    if contract.resize not in ("exact", "letterbox"):
        across = down  # the shorter side is one number
    return replace(
        contract,
        resize_size=(round(height * down), round(width * across)),
        crop=(size, size) if contract.crop else None,
    )


def image_transform(augment: Augment, size: int, contract: Preprocess) -> v2.Transform:
    """uint8 `(3, h, w)` of any size to uint8 `(3, size, size)`, resampled as `contract` does it.

    Where nothing is cropped at random, framed as `contract` frames it too, because the device will: of an image that
    `Preprocess.resized` gave, its pixels exactly.
    """
    settings = augment_settings(augment)
    interpolation = contract.interpolation
    mode = v2.InterpolationMode(interpolation)
    # Rotations have no area average; the nearest thing to the contract's filter is bilinear.
    bent = v2.InterpolationMode.NEAREST if interpolation == "nearest" else v2.InterpolationMode.BILINEAR
    steps: list[v2.Transform] = []
    if settings.policy == "randaugment":
        steps.append(v2.RandAugment(interpolation=bent))
    elif settings.policy == "trivialaugment":
        steps.append(v2.TrivialAugmentWide(interpolation=bent))
    if settings.rotation or settings.shear or settings.zoom:
        steps.append(
            v2.RandomAffine(
                settings.rotation,
                scale=(1 - settings.zoom, 1 + settings.zoom) if settings.zoom else None,
                shear=(-settings.shear, settings.shear, -settings.shear, settings.shear)
                if settings.shear
                else None,
                interpolation=bent,
            )
        )
    if settings.crop < 1:
        steps.append(
            v2.RandomResizedCrop(size, scale=(settings.crop, 1.0), interpolation=mode, antialias=True)
        )
    else:
        steps += _framed(contract, size, mode)
    if settings.flip:
        steps.append(v2.RandomHorizontalFlip(settings.flip))
    if settings.vertical_flip:
        steps.append(v2.RandomVerticalFlip(settings.vertical_flip))
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        steps.append(
            v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue)
        )
    if settings.erasing:
        steps.append(v2.RandomErasing(settings.erasing))
    return v2.Compose(steps)


def _framed(contract: Preprocess, size: int, mode: v2.InterpolationMode) -> list[v2.Transform]:
    """The contract's resize and crop for an input of `size`; a resize leaves alone what has its size already."""
    at = contract_at_size(contract, size)
    if contract.resize == "none":  # the part that is cropped has a size of its own
        return [v2.CenterCrop(contract.crop), v2.Resize([size, size], interpolation=mode, antialias=True)]
    whole = contract.resize in ("exact", "letterbox")  # of a letterbox, the bars are there already
    sides = list(at.resize_size) if whole else at.resize_size[0]
    steps: list[v2.Transform] = [v2.Resize(sides, interpolation=mode, antialias=True)]
    return [*steps, v2.CenterCrop(at.crop)] if at.crop else steps


def batch_transform(augment: Augment, classes: int) -> v2.Transform | None:
    """MixUp and CutMix: float `(n, 3, h, w)` and int64 `(n,)` to mixed images and soft labels `(n, classes)`, or None.

    Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019. With both, a coin decides for each batch.
    """
    settings = augment_settings(augment)
    mixes: list[v2.Transform] = []
    if settings.mixup:
        mixes.append(v2.MixUp(alpha=settings.mixup, num_classes=classes))
    if settings.cutmix:
        mixes.append(v2.CutMix(alpha=settings.cutmix, num_classes=classes))
    return v2.RandomChoice(mixes) if len(mixes) > 1 else mixes[0] if mixes else None


def model_inputs(
    images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> torch.Tensor:
    """uint8 `(n, 3, h, w)` to the model's normalized float32 inputs on `device`, channels last.

    The arithmetic of `Preprocess.normalize`, in its order; there it is numpy's, for the device.
    """
    pixels = images.to(device, non_blocking=True).to(torch.float32).div_(255)
    m = torch.tensor(mean, device=device)[:, None, None]
    s = torch.tensor(std, device=device)[:, None, None]
    return pixels.sub_(m).div_(s).contiguous(memory_format=torch.channels_last)
