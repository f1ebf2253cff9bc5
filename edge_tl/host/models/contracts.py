"""The preprocessing that weights were trained with, and a recipe's changes to it. Loads no weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess
from edge_tl.host.models import timm_models
from edge_tl.host.models.timm_models import TIMM
from edge_tl.host.models.zoo import FACTORY, zoo_entry
from edge_tl.host.recipe.schema import ModelSettings

# Trained at 64 px without a resize; bicubic because small images (digits, icons) are enlarged to it.
EMBEDDED_CONTRACT = Preprocess(resize="shorter", resize_size=(64, 64), interpolation="bicubic", crop=(64, 64))
_MARGIN = 256 / 224  # of five crops where the weights have none; Krizhevsky et al., 2012


@dataclass(frozen=True)
class ContractChanges:
    """A recipe's changes to a contract; None leaves a part as it is. Sizes are in pixels."""

    image_size: int | None = None
    resize: str = "shorter"
    pad: tuple[int, int, int] | None = None
    resize_size: int | None = None
    interpolation: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, model: ModelSettings) -> ContractChanges:
        """The changes that the recipe's section asks for."""
        return cls(**model.model_dump(include={each.name for each in fields(cls)}))


UNCHANGED = ContractChanges()


def default_contract(name: str) -> Preprocess:
    """What a file's weights were most likely trained with."""
    if name.startswith(FACTORY):
        return Preprocess()
    return _timm_contract(name) if name.startswith(TIMM) else published_contract(zoo_entry(name).contract)


def known_contract(name: str, weights: str) -> Preprocess | None:
    """What the weights were trained with, as far as their name says; None for a model that is not known."""
    with suppress(EdgeTLError):
        if weights == "imagenet" and not name.startswith((TIMM, FACTORY)):
            return published_contract(zoo_entry(name).imagenet)
        return EMBEDDED_CONTRACT if weights == "embedded" else default_contract(name)
    return None


def published_contract(weights: Any) -> Preprocess:
    """torchvision's published transforms as a contract."""
    transforms = weights.transforms()
    side, crop = transforms.resize_size[0], transforms.crop_size[0]
    return Preprocess(
        resize="shorter",
        resize_size=(side, side),
        interpolation=transforms.interpolation.value,
        crop=(crop, crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _timm_contract(name: str) -> Preprocess:
    """timm's configuration as a contract; sizes are rounded down as `timm.data.create_transform` does."""
    config = timm_models.timm_config(name)
    channels, height, width = config.input_size
    unsupported = {
        "crop_mode": config.crop_mode not in ("center", "squash") and config.crop_mode,
        "interpolation": config.interpolation not in INTERPOLATIONS and config.interpolation,
        "input_size": (channels != 3 or height != width) and config.input_size,
    }
    for key, value in unsupported.items():
        if value:
            raise BadInput(f"{name}: {key} {value!r} is not supported. Choose another model.")
    side = int(height / config.crop_pct)
    return Preprocess(
        resize="exact" if config.crop_mode == "squash" else "shorter",
        resize_size=(side, side),
        interpolation=config.interpolation,
        crop=(height, width),
        mean=config.mean,
        std=config.std,
    )


def changed_contract(contract: Preprocess, changes: ContractChanges) -> Preprocess:
    """`contract` with `changes`. With `image_size` alone the margin around the crop stays in proportion."""
    if changes.image_size:
        side = round(contract.resize_size[0] * changes.image_size / contract.input_size[0])
        crop = (changes.image_size, changes.image_size)
        contract = replace(contract, resize_size=(side, side), crop=crop)
    if changes.resize_size:
        contract = replace(contract, resize_size=(changes.resize_size, changes.resize_size))
    contract = replace(
        contract,
        interpolation=changes.interpolation or contract.interpolation,
        mean=changes.mean or contract.mean,
        std=changes.std or contract.std,
    )
    return with_policy(contract, changes.resize, pad=changes.pad)


def with_policy(contract: Preprocess, policy: str, *, pad: tuple[int, int, int] | None = None) -> Preprocess:
    """`contract`, which crops the centre or squeezes, with another policy, one of `schema.ResizePolicy`; "shorter"
    leaves it as it is. A letterbox without a colour `pad` has the mean colour, which is 0 after the normalization."""
    if policy == "exact":
        return replace(contract, resize="exact", resize_size=contract.input_size, crop=None)
    if policy == "letterbox":
        red, green, blue = (min(max(round(255 * value), 0), 255) for value in contract.mean)
        return replace(
            contract,
            resize="letterbox",
            resize_size=contract.input_size,
            crop=None,
            pad=pad or (red, green, blue),
        )
    if policy == "five-crop":
        part, whole = contract.input_size, contract.resize_size
        if any(w <= p for w, p in zip(whole, part, strict=True)):  # these weights have no margin
            whole = (round(part[0] * _MARGIN), round(part[1] * _MARGIN))
        return replace(contract, resize_size=whole, crop=whole, five_crop=part)
    return contract
