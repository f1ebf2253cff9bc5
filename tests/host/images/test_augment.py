"""Augmentation by its effects on pixels: every knob does what it is called, nothing else, and always the same."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess
from edge_tl.host.images import augment
from edge_tl.host.images.pixel_cache import ContractResized, UncachedImages
from edge_tl.host.recipe.schema import Augment

SIDE = 48
KNOBS = sorted(set(Augment.model_fields) - {"preset"})


def picture(height: int = SIDE, width: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Smooth colours over noise, no symmetry, no black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = np.stack([60 + 120 * x / width, 60 + 120 * y / height, 60 + 60 * (x + y) / (width + height)])
    return torch.from_numpy((planes + rng.integers(0, 40, planes.shape)).astype(np.uint8))


def asked_for(asked: Augment) -> dict[str, Any]:
    return asdict(augment.augment_settings(asked))


def plain(**knobs: Any) -> Augment:
    return Augment(preset="none", **knobs)


def once(settings: Augment, image: torch.Tensor, seed: int = 0, size: int = SIDE) -> torch.Tensor:
    torch.manual_seed(seed)
    whole = Preprocess(resize_size=(size, size), crop=(size, size))
    result: torch.Tensor = augment.image_transform(settings, size, whole)(image)
    return result


def many(settings: Augment, image: torch.Tensor, n: int = 40) -> list[torch.Tensor]:
    return [once(settings, image, seed) for seed in range(n)]


def test_none_is_the_image_itself():
    image = picture()
    assert torch.equal(once(plain(), image), image)
    assert augment.batch_transform(plain(), 3) is None


def test_presets_are_known_and_each_is_stronger():
    values = [asked_for(Augment(preset=name)) for name in ("none", "light", "medium", "strong")]
    assert all(sorted(v) == KNOBS for v in values)
    assert [v["crop"] for v in values] == sorted((v["crop"] for v in values), reverse=True)
    assert len({str(v) for v in values}) == 4
    assert asked_for(Augment()) == values[1]


@pytest.mark.parametrize("preset", augment.PRESETS)
def test_a_knob_overrides_its_preset_and_no_other(preset: Any):
    own: dict[str, Any] = {
        "crop": 0.77, "flip": 0.11, "vertical_flip": 0.12, "rotation": 3.0, "shear": 4.0, "zoom": 0.13,
        "brightness": 0.14, "contrast": 0.15, "saturation": 0.16, "hue": 0.17, "policy": "randaugment",
        "erasing": 0.18, "mixup": 0.19, "cutmix": 0.21,
    }  # fmt: skip
    assert sorted(own) == KNOBS
    before = asked_for(Augment(preset=preset))
    for name, value in own.items():
        assert asked_for(Augment(preset=preset, **{name: value})) == before | {name: value}
    off: dict[str, Any] = {name: "none" if name == "policy" else 1 if name == "crop" else 0 for name in own}
    assert asked_for(Augment(preset=preset, **off)) == asked_for(plain())  # 0 is not null


@pytest.mark.parametrize(("knob", "axis"), [("flip", 2), ("vertical_flip", 1)])
def test_a_flip_is_an_exact_mirror(knob: str, axis: int):
    image = picture()
    assert torch.equal(once(plain(**{knob: 1.0}), image), image.flip(axis))
    half = [torch.equal(result, image.flip(axis)) for result in many(plain(**{knob: 0.5}), image)]
    assert 8 < sum(half) < 32
    assert all(
        torch.equal(result, image) or mirrored
        for result, mirrored in zip(many(plain(**{knob: 0.5}), image), half, strict=True)
    )


def test_a_crop_shows_a_part_and_at_least_the_share_asked_for():
    """The red plane grows from left to right: its range says how much of the width is shown."""
    ramp = torch.arange(0, 250, dtype=torch.uint8).repeat(3, 250, 1)
    shares = []
    for result in many(plain(crop=0.5), ramp):
        row = result[0, SIDE // 2].float()
        shares.append(float(row[-1] - row[0]) / 249)
    assert min(shares) > 0.5 * 0.75  # at the widest aspect, less a pixel
    assert max(shares) <= 1
    assert np.std(shares) > 0.02


@pytest.mark.parametrize(
    ("knobs", "touched"),
    [
        ({"rotation": 30.0}, "geometry"),
        ({"shear": 20.0}, "geometry"),
        ({"zoom": 0.4}, "geometry"),
        ({"brightness": 0.5}, "colour"),
        ({"contrast": 0.5}, "colour"),
        ({"saturation": 0.8}, "colour"),
        ({"hue": 0.3}, "colour"),
    ],
)
def test_geometry_moves_pixels_and_colour_does_not(knobs: dict[str, Any], touched: str):
    image = torch.full((3, SIDE, SIDE), 40, dtype=torch.uint8)
    image[0, 30:40, 5:12], image[1, 30:40, 5:12] = 220, 120
    shape = image[0] > 100
    changed = moved = 0
    for result in many(plain(**knobs), image, 20):
        changed += not torch.equal(result, image)
        outline = result.max(0).values.float() > result.max(0).values.float().mean() * 1.5
        if touched == "colour":
            assert torch.equal(outline, shape)
        else:
            moved += not torch.equal(outline, shape)
    assert changed > 15
    assert (moved > 10) == (touched == "geometry")


def test_each_colour_knob_is_its_own():
    image = picture()
    grey = image.float().mean(0, keepdim=True).round().to(torch.uint8).repeat(3, 1, 1)
    for result in many(plain(hue=0.4), grey, 5) + many(plain(saturation=0.9), grey, 5):
        assert (result.int() - grey.int()).abs().max() <= 1  # grey has neither hue nor saturation
    flat = torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8)
    for result in many(plain(contrast=0.9), flat, 5):
        assert (result.int() - 100).abs().max() <= 1
    levels = [float(result.float().mean()) for result in many(plain(brightness=0.3), flat)]
    assert 69 <= min(levels) < 85
    assert 115 < max(levels) <= 130


def test_rotations_turn_about_the_centre_within_their_bound():
    image = torch.zeros(3, 101, 101, dtype=torch.uint8)
    image[:, 48:53, 90:95] = 255  # a spot to the right of the centre
    angles = []
    for seed in range(40):
        result = once(plain(rotation=25.0), image, seed, 101)[0].float()
        y, x = np.argwhere(result.numpy() > 60).mean(0) - 50
        angles.append(np.degrees(np.arctan2(y, x)))
    assert 15 < max(angles) < 27
    assert -27 < min(angles) < -15


def test_zoom_is_symmetric_about_one():
    image = torch.zeros(3, 101, 101, dtype=torch.uint8)
    image[:, 30:71, 30:71] = 255
    sides = [float((once(plain(zoom=0.3), image, seed, 101)[0] > 127).sum()) ** 0.5 for seed in range(40)]
    assert 28 <= min(sides) < 33
    assert 49 < max(sides) <= 54.5


def test_erasing_blacks_one_rectangle():
    image = picture()
    for result in many(plain(erasing=1.0), image, 10):
        gone = (result != image).any(0)
        ys, xs = np.where(gone)
        box = gone[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert bool(box.all())
        assert int(result[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].max()) == 0


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_policies_change_most_images_in_many_ways(policy: Any):
    image = picture()
    results = many(plain(policy=policy), image)
    assert sum(not torch.equal(result, image) for result in results) > 20
    assert len({result.numpy().tobytes() for result in results}) > 20


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("preset", augment.PRESETS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 90), (90, 7), (48, 48), (300, 1), (33, 64)])
def test_any_shape_becomes_the_size_asked_for(interpolation: str, preset: Any, shape: tuple[int, int]):
    image = picture(*shape).permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as images are stored
    torch.manual_seed(0)
    result = augment.image_transform(
        Augment(preset=preset, rotation=5.0), 40, Preprocess(interpolation=interpolation)
    )(image)
    assert (result.dtype, tuple(result.shape)) == (torch.uint8, (3, 40, 40))


@pytest.mark.parametrize("preset", augment.PRESETS)
def test_the_seed_alone_decides(preset: Any):
    chosen = Augment(preset=preset, rotation=10.0, hue=0.1, erasing=0.5)
    image = picture(60, 90)
    before = image.clone()
    assert torch.equal(once(chosen, image, 5), once(chosen, image, 5))
    assert not torch.equal(once(chosen, image, 5), once(chosen, image, 6))
    assert torch.equal(image, before)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3),
    st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3),
    st.integers(0, 100),
)
def test_inputs_are_the_contracts_bit_for_bit(mean: list[float], std: list[float], seed: int):
    contract = Preprocess(mean=tuple(mean), std=tuple(std))  # type: ignore[arg-type]
    images = torch.stack([picture(9, 7, seed), picture(9, 7, seed + 1)])
    got = augment.model_inputs(images, contract.mean, contract.std, torch.device("cpu"))
    want = contract.normalize(images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(got.numpy(), want)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.uint8


@pytest.mark.parametrize("knobs", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixed_labels_say_what_is_in_the_image(knobs: dict[str, float]):
    """Images of one value a class: the pixels must hold the shares that the label claims."""
    labels = torch.arange(8) % 4
    inputs = labels.float()[:, None, None, None].expand(8, 3, 32, 32).contiguous()
    mix = augment.batch_transform(plain(**knobs), 4)
    assert mix is not None
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        images, soft = mix(inputs, labels)
        assert tuple(soft.shape) == (8, 4)
        torch.testing.assert_close(soft.sum(1), torch.ones(8))
        assert bool((soft >= 0).all())
        torch.testing.assert_close(images.mean((1, 2, 3)), soft @ torch.arange(4.0), atol=0.02, rtol=0)
        whole = bool((images == images.round()).all())
        kinds.add("cut" if whole else "mixed")
    assert "cut" in kinds if "cutmix" in knobs else True
    assert "mixed" in kinds if "mixup" in knobs else kinds == {"cut"}


def test_nothing_is_cut_off_where_the_device_squeezes():
    """`resize: exact` shows the device the whole image; training without crops must show it too."""
    image = torch.zeros(3, 20, 60, dtype=torch.uint8)
    image[:, :, :6] = 200
    squeezed = Preprocess(resize="exact", resize_size=(20, 20), crop=None)
    assert augment.image_transform(Augment(preset="none"), 20, squeezed)(image)[:, :, 0].min() > 150
    assert augment.image_transform(Augment(preset="none"), 20, Preprocess())(image).max() == 0


@dataclass(frozen=True)
class Bytes:
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


CONTRACTS = [
    Preprocess(interpolation=name, resize_size=(52, 52), crop=(46, 46)) for name in sorted(INTERPOLATIONS)
] + [
    Preprocess(resize_size=(40, 40), crop=(48, 48)),  # padded
    Preprocess(resize="exact", resize_size=(44, 44), crop=None),
    Preprocess(resize="exact", resize_size=(52, 60), crop=(46, 46)),
    Preprocess(resize="none", crop=(44, 44)),
]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("shape", [(300, 200), (200, 301), (30, 20), (52, 52), (53, 149)])
def test_none_trains_on_exactly_the_contracts_pixels(contract: Preprocess, shape: tuple[int, int]):
    file = io.BytesIO()
    Image.fromarray(picture(*shape).permute(1, 2, 0).numpy()).save(file, "PNG")
    stored = UncachedImages([Bytes(file.getvalue())], ContractResized(contract))[0]
    got = augment.image_transform(plain(), contract.input_size[0], contract)(stored)
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), contract.pixels(file.getvalue()))


@pytest.mark.parametrize("size", [23, 46, 92])
def test_none_shows_the_same_frame_at_every_training_size(size: int):
    """A white square exactly as large as the device's frame: at any size, white to the edges and nothing else."""
    contract = Preprocess(resize_size=(52, 52), crop=(46, 46))
    image = torch.zeros(3, 520, 900, dtype=torch.uint8)
    image[:, 25:495, 215:685] = 255
    result = augment.image_transform(plain(), size, contract)(image)
    assert tuple(result.shape) == (3, size, size)
    assert result.float().mean() > 245
    half = torch.zeros_like(image)
    half[:, 60:460, 250:650] = 255
    shown = augment.image_transform(plain(), size, contract)(half).float().mean() / 255
    assert float(shown) == pytest.approx((400 / 460) ** 2, abs=0.05)


@pytest.mark.parametrize("size", [20, 40, 80])
@pytest.mark.parametrize(
    ("contract", "shape"),
    [
        (Preprocess(resize="exact", resize_size=(50, 60), crop=(40, 40)), (500, 900)),  # the margins differ
        (Preprocess(resize="none", crop=(40, 40)), (50, 60)),
    ],
    ids=["exact", "none"],
)
def test_a_margin_is_kept_at_every_training_size(contract: Preprocess, shape: tuple[int, int], size: int):
    """White inside the device's frame and black in its margin, from which nothing may be shown."""
    height, width = shape
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, height // 10 : height - height // 10, width // 6 : width - width // 6] = 255
    result = augment.image_transform(plain(), size, contract)(image)
    assert tuple(result.shape) == (3, size, size)
    assert result[:, 1:-1, 1:-1].min() > 250
