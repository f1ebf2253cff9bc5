"""Batches augmented on the device look as the workers' images do, image by image, with the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from edge_tl.device.listener import SILENT
from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess
from edge_tl.host.images import augment, gpu_augment
from edge_tl.host.images.batches import AugmentedImages, SampleKey
from edge_tl.host.images.pixel_cache import ContractResized, PixelCache, ShrinkShorterSide, fill_cache
from edge_tl.host.recipe.schema import Augment

SHAPES = [(90, 140), (140, 90), (64, 64), (70, 200), (61, 60), (300, 80)]
KEYS: list[SampleKey] = [(epoch, i) for epoch in range(3) for i in range(len(SHAPES))]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Smooth colours: resampled twice they still are what they were, where noise would not be."""
    folder = tmp_path_factory.mktemp("images")
    for n, (height, width) in enumerate(SHAPES):
        y, x = np.mgrid[0:height, 0:width]
        planes = [
            127 + 90 * np.sin(x / 17 + n),
            127 + 90 * np.cos(y / 13),
            40 + 150 * (x + y) / (height + width),
        ]
        Image.fromarray(np.stack(planes, 2).astype(np.uint8)).save(folder / f"{n}.png")
    return sorted(folder.iterdir())


def both(
    files: list[Path], folder: Path, settings: Augment, contract: Preprocess, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """All `KEYS` from the workers' path, and in batches."""
    read: Any = (
        ShrinkShorterSide(60, contract.interpolation)
        if augment.crops_at_random(settings)
        else ContractResized(contract)
    )
    fill_cache(files, read, folder, SILENT)
    store = PixelCache(folder)
    one = AugmentedImages(store, [augment.image_transform(settings, size, contract)], 7)
    images = [one[key] for key in KEYS]
    want = torch.stack([image for image in images if isinstance(image, torch.Tensor)])
    assert len(want) == len(KEYS)
    store.to(torch.device("cpu"))
    drawn = gpu_augment.AugmentParameters(store.shapes(), settings, [size], contract, 7)
    made = gpu_augment.GpuAugment(store, [size], contract)
    rows = torch.stack([drawn[key] for key in KEYS])
    got = torch.cat([made(rows[start : start + 6]) for start in range(0, len(KEYS), 6)])
    return want, got


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize(
    "knobs",
    [
        {"preset": "light"},
        {"preset": "medium"},
        {"preset": "none", "crop": 0.1, "vertical_flip": 0.5},
        {"preset": "none", "rotation": 30.0},
        {"preset": "none", "shear": 15.0, "zoom": 0.3},
        {"preset": "none", "brightness": 0.5, "contrast": 0.5, "saturation": 0.8},
        {"preset": "light", "erasing": 0.7},
    ],
    ids=str,
)
def test_it_looks_as_the_workers_path(
    files: list[Path], tmp_path: Path, knobs: dict[str, Any], interpolation: str
):
    contract = Preprocess(interpolation=interpolation, resize_size=(54, 54), crop=(48, 48))
    want, got = both(files, tmp_path, Augment(**knobs), contract, 48)
    apart = (want.int() - got.int()).abs().float()
    assert got.dtype == torch.uint8
    # Half a level here and there is scaled by colours; black borders of rotations differ where they begin.
    assert float(apart.mean()) < 1
    assert float((apart > 4).float().mean()) < 0.005
    assert len({tuple(image.flatten()[::97].tolist()) for image in got}) > len(SHAPES)  # epochs differ


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize(
    "frame",
    [
        {"resize_size": (54, 54), "crop": (48, 48)},
        {"resize_size": (55, 55), "crop": (48, 48)},
        {"resize_size": (40, 40), "crop": (48, 48)},  # padded
        {"resize": "exact", "resize_size": (48, 48), "crop": None},
        {"resize": "exact", "resize_size": (54, 60), "crop": (48, 48)},
        {"resize": "none", "crop": (48, 48)},
    ],
    ids=str,
)
def test_none_is_the_contracts_pixels(
    files: list[Path], tmp_path: Path, frame: dict[str, Any], interpolation: str
):
    contract = Preprocess(interpolation=interpolation, **frame)
    _, got = both(files, tmp_path, Augment(preset="none"), contract, 48)
    for (_, i), image in zip(KEYS, got, strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), contract.pixels(files[i]))


@pytest.mark.parametrize("resize", ["shorter", "exact", "none"])
@pytest.mark.parametrize("size", [32, 64])
def test_other_training_sizes_show_the_same_frame(files: list[Path], tmp_path: Path, size: int, resize: str):
    contract = Preprocess(resize=resize, resize_size=(54, 54), crop=(48, 48))
    want, got = both(files, tmp_path, Augment(preset="none"), contract, size)
    assert float((want.int() - got.int()).abs().float().mean()) < 4


def test_policies_and_hue_are_left_to_the_workers():
    possible = {name: gpu_augment.is_supported(Augment(preset=name)) for name in augment.PRESETS}  # type: ignore[arg-type]
    assert possible == {"none": True, "light": True, "medium": True, "strong": False}
    assert not gpu_augment.is_supported(Augment(hue=0.1))


def test_every_tensor_is_on_the_device():
    """Kernels of a GPU that is not there: shapes, types and devices as PyTorch would have them."""
    settings = Augment(preset="medium", erasing=1.0, vertical_flip=0.5)
    drawn = gpu_augment.AugmentParameters(SHAPES, settings, [48], Preprocess(), 7)
    rows = [drawn[(0, i)].tolist() for i in range(len(SHAPES))]
    with FakeTensorMode():
        images = [torch.empty(3, *shape, dtype=torch.uint8, device="cuda") for shape in SHAPES]
        for interpolation in INTERPOLATIONS:
            made = gpu_augment.augment_batch(images, rows, 48, interpolation)
            assert (made.device.type, made.dtype, tuple(made.shape)) == ("cuda", torch.uint8, (6, 3, 48, 48))


def test_a_panorama_beside_a_portrait_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    """Padded to each other these take 50 times the memory of their pixels; in pieces the answer is the same."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(24, 400), (400, 24), (40, 40), (36, 44)]
    images = [torch.randint(0, 256, (3, *shape), generator=generator, dtype=torch.uint8) for shape in shapes]
    rows = [[0.0] * 23 for _ in images]
    for row, (height, width) in zip(rows, shapes, strict=True):
        row[2:6], row[8:12], row[12:19] = [0, 0, height, width], [1, 0, 0, 1], [0, 1, 2, 3, 1, 1, 1]
    whole = gpu_augment.augment_batch(images, rows, 32, "bilinear")
    padded: list[int] = []
    piece = gpu_augment._piece

    def spied(some: list[torch.Tensor], *rest: Any) -> torch.Tensor:
        padded.append(len(some) * max(i.shape[1] for i in some) * max(i.shape[2] for i in some) * 12)
        return piece(some, *rest)

    monkeypatch.setattr(gpu_augment, "_piece", spied)
    monkeypatch.setattr(gpu_augment, "PIECE_BYTES", 200_000)
    assert torch.equal(gpu_augment.augment_batch(images, rows, 32, "bilinear"), whole)
    assert max(padded) <= 200_000
    assert len(padded) > 1
