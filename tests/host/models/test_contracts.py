"""A recipe's resize policy as a contract, for weights with a margin and without."""

from __future__ import annotations

from typing import Any

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.models.contracts import EMBEDDED_CONTRACT, ContractChanges, changed_contract
from edge_tl.host.recipe.load import parse

TORCHVISIONS = Preprocess()


def changed(contract: Preprocess = TORCHVISIONS, **settings: Any) -> Preprocess:
    return changed_contract(contract, ContractChanges.of(parse({"model": settings}).model))


def test_a_letterbox_fills_with_the_mean_colour() -> None:
    found = changed(resize="letterbox")
    assert (found.resize, found.resize_size, found.crop) == ("letterbox", (224, 224), None)
    assert found.pad == (124, 116, 104)  # 255 times the mean, as timm fills
    assert changed(resize="letterbox", pad=[0, 0, 0]).pad == (0, 0, 0)
    assert changed(resize="letterbox", mean=[0.5, 0, 1]).pad == (128, 0, 255)
    assert changed(resize="letterbox", image_size=96).input_size == (96, 96)


def test_five_crops_are_of_the_margin() -> None:
    found = changed(resize="five-crop")
    assert (found.crop, found.five_crop, found.resize_size) == ((256, 256), (224, 224), (256, 256))
    assert changed(resize="five-crop", resize_size=300).input_size == (300, 300)
    assert changed(EMBEDDED_CONTRACT, resize="five-crop").crop == (73, 73)  # 64 * 256 / 224
    assert found.single_crop() == Preprocess()


def test_squash_is_another_word_for_exact() -> None:
    assert changed(resize="squash") == changed(resize="exact")


@pytest.mark.parametrize(
    "settings", [{"resize": "stretch"}, {"resize": None}, {"pad": [0, 0, 256]}, {"pad": 0}]
)
def test_what_is_no_policy_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"model\.(resize|pad)"):
        changed(**settings)


def test_a_colour_without_a_letterbox_is_refused() -> None:
    with pytest.raises(BadInput, match=r"model\.pad"):
        changed(pad=[0, 0, 0])
